//! Connections between a page and the server that are cut in the middle of a call: what the client in the page gets.

use serde_json::{Value, json};

use super::{ALLOWED_ORIGINS, Origins, client, run, steps};
use crate::support::cluster::Cluster;

const NODES: usize = 3;
/// How many steps the call takes that is cut.
const STEPS: u32 = 30;
/// A client of 2024-11-05 opens the URL again that it was given: with a key in it, the session is the same.
const KEY: &str = "3f1c0a77d2be4e5f9a6b8c0d1e2f3a4b5c6d7e8f";

#[tokio::test]
async fn typescript_1_in_a_page_comes_back_for_its_call() {
    comes_back("v1", "streamable").await;
}

#[tokio::test]
async fn typescript_2_in_a_page_comes_back_for_its_call() {
    comes_back("v2", "legacy").await;
}

/// Its connections are reset twice: it gets the result, and each event once.
async fn comes_back(line: &str, mode: &str) {
    let seen = cut("resume", &client(line, mode)).await;
    assert_eq!(seen["cut"], json!([true, true]), "connections that were cut");
    assert_eq!(seen["steps"], steps(STEPS), "a gap or a duplicate");
    assert_eq!(seen["counted"], STEPS);
    assert_eq!(seen["echoed"], "after the cut");
}

/// It comes back without `Last-Event-ID`, which it leaves out, so what was on its way to it when the connection was cut is
/// lost; nothing comes twice, and the rest comes.
#[tokio::test]
async fn typescript_1_in_a_page_goes_on_in_its_session_over_http_with_sse() {
    let seen = cut("resume", &client("v1", "sse")).await;
    assert_eq!(seen["cut"], json!([true, true]), "connections that were cut");
    let told: Vec<u64> = serde_json::from_value(seen["steps"].clone()).expect("numbers");
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    assert_eq!(told.last().copied(), Some(STEPS.into()), "{told:?}");
    assert_eq!(seen["counted"], STEPS);
    assert_eq!(seen["echoed"], "after the cut");
}

/// A stream of 2026-07-28 cannot be taken up ("clients MUST re-issue it as a new request").
#[tokio::test]
async fn typescript_2_in_a_page_without_a_session_fails_and_calls_again() {
    let seen = cut("again", &client("v2", "modern")).await;
    assert_eq!(seen["cut"], json!([true]), "connections that were cut");
    assert_eq!(seen["failed"], true, "the page is told");
    assert_eq!(seen["steps"], steps(STEPS), "a gap or a duplicate");
    assert_eq!(seen["counted"], STEPS);
}

/// It reconnects by itself, with `Last-Event-ID`, and its page posts on.
#[tokio::test]
async fn an_event_source_goes_on_after_the_cut_where_it_was() {
    let seen = cut("events", &Value::Null).await;
    assert_eq!(seen["version"], "2024-11-05");
    assert_eq!(seen["opened"], 2, "the stream was opened again");
    let endpoints = seen["endpoints"].as_array().expect("a list");
    assert_eq!(endpoints[0], endpoints[1], "it is the same session");
    assert_eq!(seen["posted"], json!([202, 202, 202, 202]));
    assert_eq!(seen["steps"], steps(STEPS), "a gap or a duplicate");
    assert_eq!(seen["distinct"], true, "an event came twice");
    assert_eq!(seen["result"], json!({"counted": STEPS}));
    assert_eq!(seen["afterwards"], json!({"text": "the same session"}));
}

/// Runs a scenario whose page reaches three nodes through a proxy that it can have cut.
async fn cut(scenario: &str, client: &Value) -> Value {
    let origins = Origins::new();
    let env = [
        (ALLOWED_ORIGINS, origins.allowed()),
        ("MCP_SSE__CLIENT_KEYS", "true".into()),
    ];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = Cluster::with(NODES, &env).await;
    let balancer = cluster.balancer().await;
    let options =
        json!({"server": balancer.url(), "origin": origins.allowed(), "client": client, "key": KEY});
    let seen = run(scenario, options).await;
    cluster.no_call_is_left().await;
    seen
}
