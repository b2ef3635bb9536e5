//! The greeting: one short block that says where, which store, and what to try next. What it says works.

use std::process::Command;

use serde_json::Value;

use crate::support::program::Program;
use crate::support::redis::Redis;

const TOKEN: &str = "a-token-of-some-length";

/// Runs a line as a user pastes it into a shell.
pub(super) fn paste(line: &str) -> Value {
    let ran = Command::new("sh")
        .args(["-c", line])
        .env("no_proxy", "*")
        .output();
    let ran = ran.expect("sh runs");
    assert!(
        ran.status.success(),
        "{line}\n{ran:?}\nThis test needs curl: apt-get install curl"
    );
    let text = String::from_utf8_lossy(&ran.stdout);
    // With the head of the answer, which names the session.
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or(("", &text));
    let answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{line}\n{error}: {ran:?}"));
    assert!(
        answer.get("error").is_some() || head.to_lowercase().contains("\nmcp-session-id: "),
        "no session to go on with in\n{text}"
    );
    answer
}

fn assert_answers(answer: &Value) {
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
    assert_eq!(answer["id"], 1, "{answer}");
}

#[tokio::test]
async fn without_redis_it_serves_from_memory_and_says_how_to_go_on() {
    let node = Program::serve(&[], &[]).await;
    let stdout = node.stdout();
    assert!(stdout.lines().count() <= 6, "one short block, not:\n{stdout}");
    assert!(!stdout.contains("\n\n"), "one block, not:\n{stdout}");
    assert!(node.url().starts_with("http://127.0.0.1:"), "{stdout}");
    assert!(node.told("sessions in").starts_with("memory"), "{stdout}");
    assert!(node.told("more nodes").contains("REDIS_URL=redis://"), "{stdout}");
    assert!(node.try_it().starts_with("curl "), "{stdout}");
    assert_answers(&paste(&node.try_it()));
}

#[tokio::test]
async fn with_redis_it_says_so() {
    let redis = Redis::start().await;
    let node = Program::serve(&[], &[("REDIS_URL", &redis.url())]).await;
    let stdout = node.stdout();
    assert!(node.told("sessions in").starts_with("redis"), "{stdout}");
    assert!(!stdout.contains("REDIS_URL"), "nothing to add to:\n{stdout}");
    assert_answers(&paste(&node.try_it()));
    assert_eq!(redis.keys("session:*").await.len(), 1, "the session is in Redis");
}

#[tokio::test]
async fn it_listens_on_the_port_that_it_is_given() {
    // Takes a free port first, so that the same one can be asked for by number.
    let url = Program::serve(&[], &[]).await.url();
    let port = url.rsplit_once(':').expect("a port").1;
    let node = Program::serve(&[], &[("PORT", port)]).await;
    assert_eq!(node.url(), url);
    assert_answers(&paste(&node.try_it()));
}

#[tokio::test]
async fn where_tokens_are_asked_for_the_line_has_a_place_for_one() {
    let node = Program::serve(&[], &[("MCP_AUTH__TOKENS__ALICE", TOKEN)]).await;
    let line = node.try_it();
    assert!(line.contains("-H 'Authorization: Bearer <token>'"), "{line}");
    assert!(!node.stdout().contains(TOKEN), "a token on the terminal");
    let refused = paste(&line);
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    assert_answers(&paste(&line.replace("<token>", TOKEN)));
}

#[tokio::test]
async fn a_node_that_listens_everywhere_is_tried_on_this_machine() {
    let node = Program::serve(&[], &[("HOST", "0.0.0.0")]).await;
    assert!(node.url().starts_with("http://0.0.0.0:"), "{}", node.url());
    assert!(node.try_it().contains("http://127.0.0.1:"), "{}", node.try_it());
    assert_answers(&paste(&node.try_it()));
}
