//! What a client is told of its own mistakes repeats little of them, and what can be read two ways is
//! refused.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::node;
use crate::support::client::{Client, MODERN};

/// 256 bytes of what was sent, and what stands around it.
const ANSWER_BYTES_MAX: usize = 1500;

/// M1: an error does not repeat a megabyte of what was sent.
#[tokio::test]
async fn an_error_repeats_little_of_what_was_sent() {
    let node = node().await;
    let long = "x".repeat(1 << 20);
    let of = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    for client in [Client::legacy(&node.url()), Client::modern(&node.url())] {
        let requests = [
            ("resources/list", json!({"cursor": {"a": long}})),
            ("resources/read", json!({"uri": format!("note://{long}")})),
            ("prompts/get", json!({"name": long})),
            ("completion/complete", json!({"ref": {"type": long}})),
            ("tools/call", of("echo", json!({"text": {"a": long}}))),
            ("tools/call", of("recall", json!({"key": long}))),
            ("tools/call", of("recall", json!({"key": 5, "notebook": [long]}))),
            ("tools/call", of("countdown", json!({"from": long}))),
            ("tools/call", json!({"name": "echo", "arguments": long})),
        ];
        for (method, params) in requests {
            let answer = client.request(method, params).await;
            assert!(
                answer.body.len() < ANSWER_BYTES_MAX,
                "{method}: {} bytes",
                answer.body.len()
            );
        }
    }
    let client = Client::legacy(&node.url());
    for (method, params) in [
        (&*long, json!({})),
        ("tools/call", json!({"name": long})),
        (
            "tools/call",
            json!({"name": "echo", "_meta": {"progressToken": [long]}}),
        ),
        ("logging/setLevel", json!({"level": long})),
        ("resources/subscribe", json!({"uri": long})),
    ] {
        let answer = client.request(method, params).await;
        let kind: String = method.chars().take(20).collect();
        assert!(
            answer.body.len() < ANSWER_BYTES_MAX,
            "{kind}: {} bytes",
            answer.body.len()
        );
    }
    let asked = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/list",
        "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": long}}
    });
    let headers = [("mcp-protocol-version".to_owned(), MODERN.to_owned())];
    let answer = client.post(&headers, &asked.to_string()).await;
    assert!(
        answer.body.len() < ANSWER_BYTES_MAX,
        "{} bytes",
        answer.body.len()
    );
}

/// M3: of a header that counts only once the first does not count more than the second.
#[tokio::test]
async fn headers_that_count_once_are_refused_when_they_come_twice() {
    let node = node().await;
    let session = Client::legacy(&node.url()).session().await.to_owned();
    let once = [
        ("Host", "127.0.0.1"),
        ("Content-Type", "application/json"),
        ("Mcp-Session-Id", &*session),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("Origin", "http://localhost:3000"),
        ("Authorization", "Bearer any"),
    ];
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let ask = async |doubled: &str| {
        let mut head = format!(
            "POST /mcp HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
            ping.len()
        );
        for (name, value) in once {
            head += &format!("{name}: {value}\r\n");
            if name == doubled {
                head += &format!("{name}: {value}\r\n");
            }
        }
        let mut connection = TcpStream::connect(("127.0.0.1", node.port()))
            .await
            .expect("a connection");
        let request = format!("{head}\r\n{ping}");
        connection.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let answer = ask("").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for (name, _) in once {
        let answer = ask(name).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert!(
            answer.contains("-32600") && answer.contains(&format!("the {name} header")),
            "{answer}"
        );
    }
}
