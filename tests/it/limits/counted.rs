//! Which requests count for which limit, and for which client.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{ALICE, BOB, answered, at, echo, node, told, with_token};
use crate::support::calls::gauge;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::{http_client, http_get};
use crate::support::process::until;
use crate::support::sse::EventStream;

#[tokio::test]
async fn a_principal_has_its_rate_and_others_have_theirs() {
    let node = node(&[
        ("MCP_AUTH__TOKENS__ALICE", ALICE),
        ("MCP_AUTH__TOKENS__BOB", BOB),
        ("MCP_LIMIT__PRINCIPAL", "1/m burst 12"),
    ])
    .await;
    let alice = with_token(Client::modern(&node.url()), ALICE);
    assert_eq!(answered(&alice, 20, "principal").await, 12);
    let elsewhere = at(alice.clone(), "192.0.2.7");
    told(&echo(&elsewhere).await, "principal");
    // The answer bears the id of the request that it refuses, also where the body might have been what must not be lost.
    let (headers, body) = alice
        .clone()
        .message("tools/call", json!({"name": "echo"}), Some(json!("mine")))
        .await;
    let mut headers = headers;
    headers.push(("mcp-session-id".into(), "any".into()));
    let refused = alice.post(&headers, &body.to_string()).await;
    told(&refused, "principal");
    assert_eq!(
        serde_json::from_str::<Value>(&refused.body).expect("JSON")["id"],
        "mine"
    );
    let bob = with_token(Client::modern(&node.url()), BOB);
    assert_eq!(answered(&bob, 12, "principal").await, 12);
    assert_eq!(
        gauge(&node.url(), "anynode_limited_total{limit=\"principal\"}").await,
        10.0
    );
}

#[tokio::test]
async fn a_session_has_its_rate_and_others_have_theirs() {
    let node = node(&[("MCP_LIMIT__SESSION", "1/m burst 12")]).await;
    let client = Client::legacy(&node.url());
    // `notifications/initialized` is a message of the session, `initialize` is not.
    assert_eq!(answered(&client, 20, "session").await, 11);
    assert_eq!(client.get(None).await.status(), 429);
    let other = Client::legacy(&node.url());
    assert_eq!(answered(&other, 11, "session").await, 11);
    assert_eq!(answered(&Client::modern(&node.url()), 30, "session").await, 30);
}

#[tokio::test]
async fn an_address_has_its_rate_in_either_era() {
    let node = node(&[("MCP_LIMIT__ADDRESS", "1/m burst 20")]).await;
    let here = at(Client::legacy(&node.url()), "192.0.2.1");
    let modern = at(Client::modern(&node.url()), "192.0.2.1");
    let first = answered(&modern, 10, "address").await;
    let second = answered(&here, 20, "address").await;
    assert_eq!((first, second), (10, 8), "the handshake counts too");
    told(&echo(&modern).await, "address");
    let there = at(Client::legacy(&node.url()), "192.0.2.2");
    assert_eq!(answered(&there, 18, "address").await, 18);
}

/// T26: an address is that of the client, also if it claims another.
#[tokio::test]
async fn claims_in_x_forwarded_for_make_no_other_address() {
    const LIMIT: (&str, &str) = ("MCP_LIMIT__ADDRESS", "1/m burst 30");
    const TRUSTED: (&str, &str) = ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1");
    for [untrusting, trusting] in [
        [
            Cluster::alone(&[LIMIT]).await,
            Cluster::alone(&[LIMIT, TRUSTED]).await,
        ],
        [
            Cluster::with(3, &[LIMIT]).await,
            Cluster::with(3, &[LIMIT, TRUSTED]).await,
        ],
    ] {
        let http = http_client().build().expect("a client");
        let mut let_in = [0; 3];
        for n in 0..1000_u32 {
            let made_up = format!("10.{}.{}.{}", n % 7, n / 250, n % 250);
            let claims = [
                made_up.clone(),
                format!("{made_up}, 192.0.2.1"),
                format!("2001:db8:1:2::{n:x}"),
            ];
            for (place, claim) in claims.into_iter().enumerate() {
                let cluster = [&untrusting, &trusting, &trusting][place];
                let client = Client::modern(&cluster.turn(n as usize).url()).over(http.clone());
                let_in[place] += usize::from(echo(&at(client, &claim)).await.status == 200);
            }
        }
        let one = |let_in: &usize| (30..=32).contains(let_in);
        assert!(let_in.iter().all(one), "each is one bucket, and not {let_in:?}");
        for other in ["192.0.2.2", "2001:db8:1:3::1", "[2001:db8:1:4::1]:80"] {
            let client = at(Client::modern(&trusting.node(0).url()), other);
            assert_eq!(echo(&client).await.status, 200, "{other}");
        }
    }
}

#[tokio::test]
async fn a_batch_takes_one_token_for_each_of_its_messages() {
    for (limit, nodes) in [("ADDRESS", 1), ("SESSION", 1), ("ADDRESS", 3), ("SESSION", 3)] {
        let name = format!("MCP_LIMIT__{limit}");
        let env = [(name.as_str(), "1/m burst 30")];
        let cluster = match nodes {
            1 => Cluster::alone(&env).await,
            _ => Cluster::with(nodes, &env).await,
        };
        let limit = limit.to_ascii_lowercase();
        let client = Client::legacy(&cluster.node(0).url()).revision("2025-03-26");
        let headers = client.session_headers().await;
        let post = async |messages: usize| {
            let one = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "increment", "arguments": {"key": "runs"}}});
            let batch: Vec<Value> = (0..messages).map(one).collect();
            client.post(&headers, &json!(batch).to_string()).await
        };
        // The handshake took one of the session, and two of the address.
        assert_eq!(post(20).await.status, 200);
        told(&post(10).await, &limit);
        let too_long = post(31).await;
        assert_eq!(too_long.status, 400, "{}", too_long.body);
        assert!(too_long.body.contains("send fewer"), "{}", too_long.body);
        assert_eq!(post(5).await.status, 200, "the refused ones took nothing");
        let answer = client.call("increment", json!({"key": "runs"})).await;
        let text = answer.ok().text().to_owned();
        assert!(text.contains("26"), "20, 5 and 1 were run: {text}");
    }
}

#[tokio::test]
async fn after_the_time_that_was_told_there_is_room() {
    for shared in [false, true] {
        let cluster = match shared {
            true => Cluster::with(2, &[("MCP_LIMIT__ADDRESS", "1/s burst 10")]).await,
            false => Cluster::alone(&[("MCP_LIMIT__ADDRESS", "1/s burst 10")]).await,
        };
        let client = cluster.modern();
        let refused = loop {
            let answer = echo(&client).await;
            if answer.status != 200 {
                break answer;
            }
        };
        told(&refused, "address");
        let seconds = refused
            .header("retry-after")
            .expect("seconds")
            .parse()
            .expect("a number");
        sleep(Duration::from_secs(seconds)).await;
        echo(&client.at(&cluster.node(0).url())).await.ok();
    }
}

/// T29: a client that begins meets no limit, however tight: the smallest burst is as much as it sends.
#[tokio::test]
async fn a_client_that_begins_meets_no_limit() {
    const TIGHT: &str = "1/m burst 10";
    let env = [
        ("MCP_AUTH__TOKENS__ALICE", ALICE),
        ("MCP_LIMIT__PRINCIPAL", TIGHT),
        ("MCP_LIMIT__ADDRESS", TIGHT),
        ("MCP_LIMIT__SESSION", TIGHT),
        ("MCP_LIMIT__INITIALIZE_PRINCIPAL", TIGHT),
        ("MCP_LIMIT__INITIALIZE_ADDRESS", TIGHT),
        ("MCP_LIMIT__FAILURES_ADDRESS", TIGHT),
    ];
    for cluster in [Cluster::with(3, &env).await, Cluster::alone(&env).await] {
        let client = with_token(cluster.client(), ALICE);
        client.session().await;
        for list in [
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
        ] {
            client.request(list, json!({})).await.ok();
        }
        let listening = client.listen(None).await;
        echo(&client).await.ok();
        drop(listening);
    }
}

/// T27: a flood of `initialize` makes few sessions, and few keys.
#[tokio::test]
async fn a_flood_of_initialize_is_stopped_and_leaves_few_keys() {
    let env = [
        ("MCP_LIMIT__INITIALIZE_ADDRESS", "1/m burst 10"),
        ("MCP_LIMIT__SESSION", "1/m burst 10"),
    ];
    let flood = async |cluster: &Cluster| {
        let mut opened = 0;
        for turn in 0..150 {
            let client = Client::legacy(&cluster.turn(turn).url());
            let answer = client.initialize().await;
            match answer.status {
                200 => opened += 1,
                _ => told(&answer, "initialize_address"),
            }
            let sse = http_get(format!("{}/sse", cluster.turn(turn).url()))
                .await
                .expect("an answer");
            opened += usize::from(sse.status() == 200);
        }
        assert!((10..=11).contains(&opened), "{opened} sessions were opened");
    };
    flood(&Cluster::alone(&env).await).await;
    let cluster = Cluster::with(3, &env).await;
    flood(&cluster).await;
    let keys = cluster.redis().keys("rate:*").await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(keys[0].starts_with("rate:initialize_address:"), "{keys:?}");
    let left = cluster.redis().cli(&["PTTL", &keys[0]]);
    let left: u64 = left.trim().parse().expect("a time");
    assert!(
        (1..=600_000).contains(&left),
        "it ends when the bucket is full: {left} ms"
    );
}

#[tokio::test]
async fn a_client_of_the_old_transport_is_counted_too() {
    let node = node(&[("MCP_LIMIT__SESSION", "1/m burst 10")]).await;
    let mut stream = EventStream::new(http_get(format!("{}/sse", node.url())).await.expect("a stream"));
    let endpoint = format!("{}/{}", node.url(), stream.endpoint().await);
    let http = http_client().build().expect("a client");
    let post = async |body: Value| {
        let sent = http
            .post(&endpoint)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send();
        sent.await.expect("an answer").status().as_u16()
    };
    let ping = |id| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    for id in 0..10 {
        assert_eq!(post(ping(id)).await, 202);
    }
    assert_eq!(post(ping(10)).await, 429);
    let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {}});
    assert_ne!(post(answer).await, 429, "answers count for nothing");
}

/// Unknown credentials are told so often, and known ones are served nevertheless.
#[tokio::test]
async fn wrong_credentials_of_an_address_are_answered_so_often_and_no_more() {
    let cluster = Cluster::with(
        2,
        &[
            ("MCP_AUTH__TOKENS__ALICE", ALICE),
            ("MCP_LIMIT__FAILURES_ADDRESS", "1/m burst 10"),
        ],
    )
    .await;
    let wrong = with_token(cluster.modern(), "a-token-that-is-wrong");
    let mut unauthorized = 0;
    for _ in 0..30 {
        let answer = echo(&wrong).await;
        match answer.status {
            401 => unauthorized += 1,
            _ => told(&answer, "failures_address"),
        }
    }
    assert!(
        (10..=11).contains(&unauthorized),
        "{unauthorized} were told that they are wrong"
    );
    let http = http_client().build().expect("a client");
    for method in [
        reqwest::Method::PUT,
        reqwest::Method::GET,
        reqwest::Method::DELETE,
    ] {
        let url = format!("{}/mcp", cluster.node(0).url());
        let sent = http
            .request(method.clone(), url)
            .bearer_auth("wrong")
            .send()
            .await;
        assert_eq!(sent.expect("an answer").status(), 429, "{method}");
    }
    assert_eq!(
        echo(&cluster.modern()).await.status,
        401,
        "no credentials are not wrong ones"
    );
    echo(&with_token(cluster.modern(), ALICE)).await.ok();
    until("the store was asked seldom", async || {
        gauge(&cluster.node(0).url(), "anynode_limit_trips_total").await < 20.0
    })
    .await;
}
