//! How many sessions and notebooks there may be: in all, and of one client.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::process::eventually;

const ALICE: &str = "alice-has-a-token-of-her-own";
const BOB: &str = "bob-has-another-token";
const TOKENS: [(&str, &str); 2] = [("MCP_AUTH__TOKENS__ALICE", ALICE), ("MCP_AUTH__TOKENS__BOB", BOB)];

fn with_token(client: &Client, token: &str) -> Client {
    client.clone().header("authorization", &format!("Bearer {token}"))
}

/// Two nodes on Redis, and one with the store in memory.
async fn stages(env: &[(&str, &str)]) -> [Cluster; 2] {
    let env = [&TOKENS, env].concat();
    [Cluster::with(2, &env).await, Cluster::alone(&env).await]
}

/// An answer that says: too many, because of this setting, and when to try again.
fn says_too_many(answer: &Answer, setting: &str) {
    assert_eq!((answer.status, answer.code()), (429, -32000), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    let words = answer.error()["message"].as_str().unwrap_or_default();
    assert!(words.contains(setting), "{words}");
}

/// Opens a session that is not initialized.
async fn opened(client: &Client) -> Option<String> {
    let answer = client.initialize().await;
    answer.header("mcp-session-id").map(str::to_owned)
}

/// F8 and finding 25: the sessions of all nodes together are bounded, and one that ends makes room for
/// another.
#[tokio::test]
async fn there_are_so_many_sessions_and_no_more() {
    for cluster in stages(&[("MCP_SESSION__MAX", "4")]).await {
        let alice = with_token(&cluster.client(), ALICE);
        let mut clients = Vec::new();
        for _ in 0..4 {
            let client = alice.clone().revision("2025-11-25");
            client.session().await;
            clients.push(client);
        }
        for node in cluster.nodes() {
            let bob = with_token(&Client::legacy(&node.url()), BOB);
            says_too_many(&bob.initialize().await, "session.max");
            // Over the other transport too.
            let http = http_client().build().expect("a client");
            let stream = http
                .get(format!("{}/sse", node.url()))
                .bearer_auth(BOB)
                .send()
                .await;
            let answer = Answer::read(stream.expect("an answer")).await;
            says_too_many(&answer, "session.max");
        }
        if cluster.has_redis() {
            assert_eq!(
                cluster.redis().keys("session:*").await.len(),
                4,
                "nothing is left of the others"
            );
        }
        // Those that are there are served, and one that ends makes room.
        for client in &clients {
            client.list().await.ok();
        }
        assert_eq!(clients[0].delete().await.status, 204);
        let bob = with_token(&cluster.client(), BOB);
        eventually("there is room", || async { opened(&bob).await }).await;
        let again = eventually("there is none again", || async {
            let answer = bob.initialize().await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        says_too_many(&again, "session.max");
    }
}

/// F8: a session that expires makes room as well, whether or not its client ever said that it is initialized.
#[tokio::test]
async fn sessions_that_expire_make_room() {
    let env = [
        ("MCP_SESSION__MAX", "2"),
        ("MCP_SESSION__TTL", "3s"),
        ("MCP_SESSION__UNINITIALIZED_TTL", "2s"),
    ];
    for cluster in stages(&env).await {
        let alice = with_token(&cluster.client(), ALICE);
        alice.session().await;
        opened(&alice).await.expect("a session");
        says_too_many(&alice.initialize().await, "session.max");
        for _ in 0..2 {
            eventually("there is room", || async { opened(&alice).await }).await;
        }
    }
}

/// F8: one client takes its share of the sessions, and others are served.
#[tokio::test]
async fn one_client_has_its_share_of_sessions() {
    let env = [
        ("MCP_SESSION__PEER_MAX", "3"),
        ("MCP_SESSION__PEER_UNINITIALIZED_MAX", "2"),
    ];
    for cluster in stages(&env).await {
        let [alice, bob] = [ALICE, BOB].map(|token| with_token(&cluster.client(), token));
        // Two that are not initialized, and no more; those that are do not count among them.
        let first = opened(&alice).await.expect("a session");
        opened(&alice).await.expect("another");
        says_too_many(&alice.initialize().await, "session.peer_uninitialized_max");
        let initialized = alice
            .clone()
            .in_session(&first)
            .notify("notifications/initialized", json!({}))
            .await;
        assert_eq!(initialized.status, 202);
        opened(&alice).await.expect("a third");
        // Three in all.
        says_too_many(&alice.initialize().await, "session.peer_max");
        for _ in 0..2 {
            bob.clone().revision("2025-11-25").session().await;
        }
        let alice = alice.in_session(&first);
        alice.list().await.ok();
        assert_eq!(alice.delete().await.status, 204);
        says_too_many(&alice.initialize().await, "session.peer_uninitialized_max");
    }
}

/// F8: a session that a store has lost count of lives on.
#[tokio::test]
async fn a_session_that_is_not_counted_is_not_lost() {
    let cluster = Cluster::with(1, &[("MCP_SESSION__TTL", "2s")]).await;
    let (client, redis) = (cluster.client(), cluster.redis());
    client.session().await;
    let sets = redis.keys("*sessions*").await;
    assert_eq!(sets.len(), 2, "{sets:?}");
    for set in &sets {
        redis.command(&["DEL", set]).await;
    }
    client.list().await.ok();
    eventually("it is counted again", || async {
        client.list().await.ok();
        (redis.keys("*sessions*").await == sets).then_some(())
    })
    .await;
    assert_eq!(client.delete().await.status, 204);
    assert!(
        redis.keys("*sessions*").await.is_empty(),
        "what has ended is not counted"
    );
}

/// F8: one client has its share of notebooks, and is told so in words.
#[tokio::test]
async fn one_client_has_so_many_notebooks() {
    for cluster in stages(&[("MCP_NOTEBOOK__PEER_MAX", "3"), ("MCP_NOTEBOOK__TTL", "4s")]).await {
        let [alice, bob] = [ALICE, BOB].map(|token| with_token(&cluster.client(), token));
        for _ in 0..2 {
            alice.open_notebook().await;
        }
        let alice = alice.into_modern();
        let used = alice.open_notebook().await;
        let refused = alice.call("open_notebook", json!({})).await;
        assert_eq!(refused.result()["isError"], true, "{refused:?}");
        assert!(refused.text().contains("notebook.peer_max"), "{}", refused.text());
        if cluster.has_redis() {
            assert_eq!(
                cluster.redis().keys("notebook:*").await.len(),
                3,
                "nothing is left of the fourth"
            );
        }
        bob.open_notebook().await;
        // Those that are not used expire and make room; the one that is counts on.
        let mut more = 0;
        eventually("two expire", || async {
            alice
                .call("recall", json!({"key": "k", "notebook": used}))
                .await
                .ok();
            let opened = alice.call("open_notebook", json!({})).await;
            let refused: &Value = &opened.result()["isError"];
            (refused != true).then_some(())
        })
        .await;
        more += 1;
        while alice.call("open_notebook", json!({})).await.result()["isError"] != true {
            more += 1;
            assert!(more <= 3, "the one that is used counts on");
        }
        assert!(more <= 2, "the one that is used counts on");
    }
}
