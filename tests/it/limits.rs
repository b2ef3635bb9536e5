//! How often clients may ask: over one node and over several, with Redis and without.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::node::{Node, NodeOptions};

mod counted;
mod outage;
mod quota;
mod uncounted;
mod whole_cluster;

const ALICE: &str = "alices-secret-token";
const BOB: &str = "bobs-own-secret-token";

/// A node that tells its clients apart by what they say in `X-Forwarded-For`, and by their tokens if it has any.
async fn node(env: &[(&str, &str)]) -> Node {
    let options = NodeOptions::default().env("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1");
    let options = env
        .iter()
        .fold(options, |options, (name, value)| options.env(name, *value));
    Node::start(&options).await
}

/// The same client at an address of its own.
fn at(client: Client, address: &str) -> Client {
    client.header("x-forwarded-for", address)
}

fn with_token(client: Client, token: &str) -> Client {
    client.header("authorization", &format!("Bearer {token}"))
}

async fn echo(client: &Client) -> Answer {
    client.call("echo", json!({"text": "x"})).await
}

/// How many of so many calls, one after the other, are answered. All others are told of that limit.
async fn answered(client: &Client, calls: usize, limit: &str) -> usize {
    let mut answered = 0;
    for _ in 0..calls {
        let answer = echo(client).await;
        match answer.status {
            200 => answered += 1,
            _ => told(&answer, limit),
        }
    }
    answered
}

/// It was refused because of that limit, and told when to try again.
#[track_caller]
fn told(answer: &Answer, limit: &str) {
    assert_eq!(answer.status, 429, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    let error = &body["error"];
    assert_eq!(error["code"], -32000, "{body}");
    assert_eq!(error["data"]["limit"], limit, "{body}");
    let message = error["message"].as_str().expect("words");
    assert!(message.contains(&format!("limit.{limit}")), "{body}");
    let after_ms = error["data"]["retryAfterMs"].as_u64().expect("milliseconds");
    let seconds = after_ms.div_ceil(1000).to_string();
    assert_eq!(answer.header("retry-after"), Some(seconds.as_str()), "{body}");
}
