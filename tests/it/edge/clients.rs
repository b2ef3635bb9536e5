//! What deployed clients send beside the letter of the rules, and is served.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

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

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// The head of a request with a wrong token, whose body has so many bytes.
fn refused_head(bytes: usize, more: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer wrong\r\n\
         content-length: {bytes}\r\n{more}\r\n"
    )
}

/// The head of the next answer.
async fn answer(connection: &mut TcpStream) -> String {
    let mut read = vec![0; 4096];
    let bytes = timeout(Duration::from_secs(5), connection.read(&mut read)).await;
    let bytes = bytes.expect("an answer").expect("a connection");
    let text = String::from_utf8_lossy(&read[..bytes]);
    text.split("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// The official clients for Python send a request's head and its body apart, and use a connection again after 401.
#[tokio::test]
async fn a_refusal_before_the_body_has_come_leaves_the_connection_as_it_says() {
    let token = ("MCP_AUTH__TOKENS__ALICE", "a-token-that-nobody-guesses");
    let node = Node::start(&NodeOptions::default().env(token.0, token.1)).await;
    let connect = async || {
        let connection = TcpStream::connect(("127.0.0.1", node.port()))
            .await
            .expect("a connection");
        connection.set_nodelay(true).expect("an option");
        connection
    };
    for pause in [0, 1, 50] {
        let mut connection = connect().await;
        for _ in 0..20 {
            let head = refused_head(PING.len(), "");
            connection.write_all(head.as_bytes()).await.expect("a connection");
            sleep(Duration::from_millis(pause)).await;
            connection.write_all(PING.as_bytes()).await.expect("a connection");
            let answer = answer(&mut connection).await;
            assert!(answer.starts_with("http/1.1 401"), "{pause}: {answer}");
            assert!(!answer.contains("connection: close"), "{pause}: {answer}");
        }
    }
    for (bytes, more) in [
        (3 << 20, ""),
        (PING.len(), ""),
        (PING.len(), "expect: 100-continue\r\n"),
    ] {
        let mut connection = connect().await;
        let head = refused_head(bytes, more);
        connection.write_all(head.as_bytes()).await.expect("a connection");
        // The body does not come.
        let answer = answer(&mut connection).await;
        assert!(answer.starts_with("http/1.1 401"), "{bytes} {more}: {answer}");
        assert!(answer.contains("connection: close"), "{bytes} {more}: {answer}");
    }
}
