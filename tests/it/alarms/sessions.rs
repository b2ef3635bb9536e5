//! How sessions are searched for, made and used, as far as alarms tell of it.

use std::collections::HashSet;

use anynode::session::SessionId;
use serde_json::json;

use super::{ALICE, TOKENS, address, alarmed, raised, with};
use crate::support::client::Client;
use crate::support::cluster::Cluster;

const PROXY: [(&str, &str); 1] = [("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1")];

fn behind(client: Client, address: &str) -> Client {
    client.header("x-forwarded-for", address)
}

fn unknown(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[tokio::test]
async fn many_unknown_sessions_are_an_alarm_and_one_that_is_asked_for_again_is_not() {
    let cluster = Cluster::with(1, &TOKENS).await;
    let alice = with(cluster.client(), ALICE);
    let ask = async |number: usize| {
        let client = alice.clone().in_session(&unknown(number));
        assert_eq!(client.call("echo", json!({"text": "x"})).await.status, 404);
    };
    for _ in 0..40 {
        ask(0).await;
    }
    for number in 0..19 {
        ask(number).await;
    }
    cluster.raised_no_alarm().await;
    for number in 19..30 {
        ask(number).await;
    }
    let lines = alarmed(&cluster, "session_guessing", 1).await;
    assert_eq!(lines[0]["count"], 20);
    assert!(!lines[0].to_string().contains(&unknown(19)), "{}", lines[0]);
    alice.call("echo", json!({"text": "x"})).await.ok();
}

/// A Redis that comes back empty has ended all sessions: their clients guess nothing.
#[tokio::test]
async fn sessions_that_a_store_has_lost_are_no_alarm() {
    let cluster = Cluster::of(1).await;
    let mut clients = Vec::new();
    for _ in 0..25 {
        let client = cluster.client();
        client.session().await;
        // More than 20 sessions of an address, each of which is used: no flood.
        client.call("echo", json!({"text": "x"})).await.ok();
        clients.push(client);
    }
    cluster.redis().restart().await;
    crate::support::process::until("all sessions are gone", async || {
        let mut gone = true;
        for client in &clients {
            gone &= client.call("echo", json!({"text": "x"})).await.status == 404;
        }
        gone
    })
    .await;
    cluster.raised_no_alarm().await;
}

#[tokio::test]
async fn sessions_that_are_made_and_not_used_are_an_alarm() {
    let cluster = Cluster::of(3).await;
    let used = cluster.client().from(address(1));
    for _ in 0..60 {
        let client = used.clone().revision("2025-11-25");
        client.session().await;
        assert_eq!(client.delete().await.status, 204);
    }
    let at = cluster.node(0).url();
    let flood = cluster.client().at(&at).from(address(2));
    for _ in 0..20 {
        assert_eq!(flood.initialize().await.status, 200, "nobody is blocked");
    }
    let lines = alarmed(&cluster, "initialize_flood", 1).await;
    assert_eq!(lines[0]["network"], "127.9.9.0/24");
}

#[tokio::test]
async fn a_session_that_another_program_uses_is_an_alarm() {
    let cluster = Cluster::of(1).await;
    let made = cluster.client().header("user-agent", "maker/1");
    let id = made.session().await.to_owned();
    for _ in 0..5 {
        made.call("echo", json!({"text": "x"})).await.ok();
    }
    // A client that says nothing of itself when it makes its session may be any later.
    let silent = cluster.client();
    let silent_id = silent.session().await.to_owned();
    let named = cluster
        .client()
        .header("user-agent", "maker/1")
        .in_session(&silent_id);
    named.call("echo", json!({"text": "x"})).await.ok();
    cluster.raised_no_alarm().await;
    let thief = cluster.client().header("user-agent", "thief/1").in_session(&id);
    for _ in 0..5 {
        thief.call("echo", json!({"text": "x"})).await.ok();
        made.call("echo", json!({"text": "x"})).await.ok();
    }
    let lines = alarmed(&cluster, "client_changed", 1).await;
    assert!(
        lines[0]["session"].is_string() && !lines[0].to_string().contains(&id),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn another_revision_than_was_negotiated_is_an_alarm() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let id = client.session().await.to_owned();
    client.call("echo", json!({"text": "x"})).await.ok();
    cluster.raised_no_alarm().await;
    let other = cluster.client().revision("2025-06-18").in_session(&id);
    other.call("echo", json!({"text": "x"})).await.ok();
    alarmed(&cluster, "client_changed", 1).await;
}

#[tokio::test]
async fn a_session_that_hops_between_networks_is_an_alarm() {
    let cluster = Cluster::with(1, &PROXY).await;
    let client = cluster.client();
    let hop = async |client: &Client, address: String| {
        behind(client.clone(), &address)
            .call("echo", json!({"text": "x"}))
            .await
            .ok();
    };
    behind(client.clone(), "198.51.100.1").session().await;
    // Many addresses of seven networks.
    for number in 0..70 {
        hop(&client, format!("203.{}.113.{number}", number % 7)).await;
    }
    cluster.raised_no_alarm().await;
    hop(&client, "203.7.113.1".into()).await;
    hop(&client, "203.8.113.1".into()).await;
    let lines = alarmed(&cluster, "address_hopping", 1).await;
    assert!(!lines[0].to_string().contains("203."), "{}", lines[0]);
}

/// No node sees more than a few of them.
#[tokio::test]
async fn networks_are_counted_over_all_nodes() {
    let cluster = Cluster::with(3, &PROXY).await;
    let client = behind(cluster.client(), "198.51.100.1");
    let id = client.session().await.to_owned();
    for number in 0..9 {
        let there = behind(
            cluster.client().at(&cluster.turn(number).url()),
            &format!("203.{number}.113.1"),
        );
        there
            .in_session(&id)
            .call("echo", json!({"text": "x"}))
            .await
            .ok();
    }
    crate::support::process::until("it is noticed", async || {
        raised(&cluster, "address_hopping").await >= 1.0
    })
    .await;
    assert!(
        cluster.metric("anynode_alarms_total").await <= 3.0,
        "once on a node"
    );
}

#[tokio::test]
async fn a_stream_that_is_taken_to_and_fro_is_an_alarm_and_one_that_comes_back_is_not() {
    let cluster = Cluster::with(3, &PROXY).await;
    let client = cluster.client();
    let id = behind(client.clone(), "198.51.100.1").session().await.to_owned();
    let mut open = Vec::new();
    for _ in 0..6 {
        let again = behind(cluster.client(), "198.51.100.1").in_session(&id);
        let mut stream = again.at(&cluster.turn(open.len()).url()).listen(None).await;
        stream.next().await.expect("a priming event");
        open.push(stream);
    }
    cluster.raised_no_alarm().await;
    for turn in 0..4 {
        let from = ["198.51.100.1", "198.51.100.77"][turn % 2];
        let taker = behind(cluster.client(), from).in_session(&id);
        let mut stream = taker.at(&cluster.turn(turn).url()).listen(None).await;
        stream.next().await.expect("a priming event");
        open.push(stream);
    }
    crate::support::process::until("it is noticed", async || {
        raised(&cluster, "stream_contest").await >= 1.0
    })
    .await;
    assert_eq!(
        cluster.metric("anynode_alarms_total").await,
        raised(&cluster, "stream_contest").await
    );
}

/// T3: nobody guesses an id. None of a million comes again, and each of their 122 random bits is set in half of them.
#[test]
fn session_ids_are_random_and_do_not_come_again() {
    const IDS: u32 = 1_000_000;
    /// Six standard deviations of so many throws of a coin.
    const OFF_MAX: u32 = 3_000;
    let mut ids = HashSet::with_capacity(IDS as usize);
    let mut set = [0_u32; 128];
    for _ in 0..IDS {
        let id = SessionId::generate().as_str().replace('-', "");
        let id = u128::from_str_radix(&id, 16).expect("a UUID");
        for (bit, count) in set.iter_mut().enumerate() {
            *count += u32::from(id >> bit & 1 == 1);
        }
        assert!(ids.insert(id), "it came before");
    }
    let random = set
        .iter()
        .filter(|count| count.abs_diff(IDS / 2) <= OFF_MAX)
        .count();
    assert_eq!(random, 122, "but for version and variant: {set:?}");
}
