//! What deployed clients send beside the letter of the rules, and is served.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, MODERN};
use crate::support::node::{Node, NodeOptions};

/// The headers of a session's request, with this `Accept`.
async fn accepting(client: &Client, accept: &str) -> Vec<(String, String)> {
    let mut headers = client.session_headers().await;
    headers.push(("accept".into(), accept.into()));
    headers
}

/// A client that accepts only single bodies gets these, as all do with `call.reply = "json"`; what the call says
/// before comes on the session's stream.
#[tokio::test]
async fn a_client_that_accepts_only_json_gets_single_bodies() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    let countdown = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "countdown", "arguments": {"from": 3, "interval_ms": 300}}});
    let answer = client
        .post(
            &accepting(&client, "application/json").await,
            &countdown.to_string(),
        )
        .await;
    let has_form = |answer: &Answer, form: &str| {
        assert_eq!(answer.header("content-type"), Some(form), "{}", answer.body);
        assert!(answer.response()["result"].is_object(), "{}", answer.body);
    };
    has_form(&answer, "application/json");
    for (accept, form) in [
        ("*/*;q=0.5, text/event-stream;q=0", "application/json"),
        (
            "text/*;q=0, text/event-stream, application/json;q=0.1",
            "text/event-stream",
        ),
    ] {
        let headers = accepting(&client, accept).await;
        has_form(&client.post(&headers, &countdown.to_string()).await, form);
    }
    let modern = Client::modern(&node.url());
    let params = json!({"name": "countdown", "arguments": {"from": 2, "interval_ms": 300}});
    let (mut headers, body) = modern.message("tools/call", params, Some(json!(1))).await;
    headers.push(("accept".into(), "application/json".into()));
    has_form(
        &modern.post(&headers, &body.to_string()).await,
        "application/json",
    );
}

/// Ids of every integer of 64 bits come back as they were, and a refusal bears the id of what it refuses.
#[tokio::test]
async fn ids_come_back_also_with_refusals() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    let headers = client.session_headers().await;
    for id in [
        json!(i64::MAX),
        json!(i64::MIN),
        json!(9_007_199_254_740_993_i64),
        json!("a/\u{1f600}"),
    ] {
        let pong = client
            .post(
                &headers,
                &json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string(),
            )
            .await;
        assert_eq!((pong.status, &pong.response()["id"]), (200, &id), "{}", pong.body);
        for malformed in [
            json!({"jsonrpc": "2.0", "id": id, "method": 5}),
            json!({"id": id, "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": ["echo"]}),
        ] {
            let refused = client.post(&headers, &malformed.to_string()).await;
            assert_eq!(
                (refused.status, refused.code()),
                (400, -32600),
                "{}",
                refused.body
            );
            assert_eq!(refused.response()["id"], id, "{}", refused.body);
        }
    }
    let unread = client
        .post(&headers, r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#)
        .await;
    assert_eq!(
        (unread.status, unread.response().get("id")),
        (400, None),
        "{}",
        unread.body
    );
}

/// Serializers of several languages write null for what is not there, and a mark before the text.
#[tokio::test]
async fn nulls_and_byte_order_marks_are_passed_over() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    let headers = client.session_headers().await;
    let echo = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"},"_meta":null}}"#;
    for text in [echo.to_owned(), format!("\u{feff}{echo}")] {
        let answer: Answer = client.post(&headers, &text).await;
        let said = answer.response()["result"]["content"][0]["text"].clone();
        assert_eq!((answer.status, said), (200, Value::from("hi")), "{}", answer.body);
    }
    // A modern request says in `_meta` what it is.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": null}});
    let version = [("mcp-protocol-version".to_owned(), MODERN.to_owned())];
    let refused = Client::modern(&node.url())
        .post(&version, &body.to_string())
        .await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

/// Case `whole_floats`: an `integer` is any number without a fraction (JSON Schema 2020-12, Validation, 6.1.1).
#[tokio::test]
async fn whole_numbers_may_be_written_with_a_fraction_of_zero() {
    let node = Node::start(&NodeOptions::default()).await;
    for client in [Client::legacy(&node.url()), Client::modern(&node.url())] {
        for (from, pause) in [
            (json!(2.0), json!(10)),
            (json!(2), json!(10.0)),
            (json!(2e0), json!(1e1)),
        ] {
            let counted = client
                .call("countdown", json!({"from": from, "interval_ms": pause}))
                .await;
            assert_eq!(counted.structured()["counted"], 2, "{}", counted.body);
        }
        for from in [json!(2.5), json!("2"), json!(-1.0)] {
            let refused = client.call("countdown", json!({"from": from})).await;
            let is_error = refused.response()["result"]["isError"] == true;
            assert!(is_error || refused.code() == -32602, "{}", refused.body);
        }
    }
    let remembered = Client::legacy(&node.url());
    remembered
        .call("remember", json!({"key": "k", "value": 30.0}))
        .await
        .ok();
    let value = remembered.call("recall", json!({"key": "k"})).await;
    assert!(
        value.body.contains("30.0"),
        "any JSON value stays what it was: {}",
        value.body
    );
}
