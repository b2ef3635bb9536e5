//! Both eras at one URL: negotiation, discovery, and what a tool does that needs its client.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};

mod revisions;

#[tokio::test]
async fn each_revision_is_negotiated_and_what_is_unknown_gets_the_newest() {
    let node = Node::start(&NodeOptions::default()).await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("2031-01-01", "2025-11-25"),
    ] {
        let answer = Client::legacy(&node.url())
            .revision(asked)
            .initialize()
            .await
            .ok();
        assert_eq!(answer.result()["protocolVersion"], agreed, "asked for {asked}");
        let id = answer.header("mcp-session-id").expect("a session id");
        assert_eq!(uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(), 4);
        let client = Client::legacy(&node.url()).revision(agreed).in_session(id);
        assert_eq!(
            client.notify("notifications/initialized", json!({})).await.status,
            202
        );
        assert_eq!(client.request("ping", json!({})).await.ok().result(), &json!({}));
    }
}

/// `initialize` opens a session with any other fields in the request too, unless header and `_meta` both say
/// modern.
#[tokio::test]
async fn initialize_comes_in_several_shapes() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    let body = |params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let plain = json!({
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}
    });
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for headers in [
        vec![],
        vec![pair("mcp-protocol-version", "2025-06-18")],
        vec![
            pair("mcp-protocol-version", "2025-06-18"),
            pair("mcp-method", "initialize"),
        ],
        vec![pair("mcp-protocol-version", "2026-07-28")],
        vec![pair("mcp-session-id", "6b2a6cbe-0f5f-4f0c-9a39-9f3f5e7f0d55")],
    ] {
        let answer = client.post(&headers, &body(plain.clone()).to_string()).await.ok();
        assert!(answer.header("mcp-session-id").is_some(), "{headers:?}");
    }
    let answer = Client::modern(&node.url()).request("initialize", plain).await;
    assert_eq!((answer.status, answer.code()), (404, -32601));
}

#[tokio::test]
async fn a_modern_client_discovers_lists_and_calls_on_any_node() {
    let cluster = Cluster::of(3).await;
    let client = cluster.modern();
    for _ in 0..3 {
        let discovered = client.request("server/discover", json!({})).await.ok();
        assert!(
            discovered.header("mcp-session-id").is_none(),
            "a modern client has no session"
        );
        let versions = discovered.result()["supportedVersions"]
            .as_array()
            .expect("versions")
            .clone();
        assert!(versions.contains(&json!("2026-07-28")));
        assert!(discovered.result()["capabilities"]["tools"].is_object());
        let tools = client.list().await.ok();
        assert_eq!(tools.result()["resultType"], "complete");
        assert!(
            tools.result()["ttlMs"].is_u64() && tools.result()["cacheScope"].is_string(),
            "{}",
            tools.body
        );
    }
    let notebook = client.open_notebook().await;
    for round in 1..=6 {
        let sum = client
            .call("increment", json!({"key": "n", "notebook": notebook}))
            .await
            .ok();
        assert_eq!(sum.structured()["value"], round);
    }
    let read = client.read(&format!("note://{notebook}/n")).await.ok();
    assert_eq!(read.result()["contents"][0]["text"], "6");
    // A handle works for any agent that is given it, of either era.
    let other = cluster
        .client()
        .call("recall", json!({"key": "n", "notebook": notebook}))
        .await
        .ok();
    assert_eq!(other.structured()["value"], 6);
    let homeless = client.call("remember", json!({"key": "a", "value": 1})).await;
    assert_eq!(homeless.result()["isError"], true);
    assert!(homeless.text().contains("open_notebook"));
}

/// What is modern stays out of legacy answers.
#[tokio::test]
async fn legacy_results_carry_no_modern_members() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    for answer in [
        client.list().await,
        client.call("echo", json!({"text": "a"})).await,
        client.request("resources/templates/list", json!({})).await,
        client.request("prompts/list", json!({})).await,
    ] {
        for member in ["resultType", "ttlMs", "cacheScope"] {
            assert!(
                answer.result().get(member).is_none(),
                "{member} in {}",
                answer.body
            );
        }
    }
}

#[tokio::test]
async fn a_legacy_client_is_asked_in_the_middle_of_a_call() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url()).capabilities(json!({"elicitation": {}, "sampling": {}}));
    let (id, mut stream) = client
        .stream(
            "tools/call",
            json!({"name": "ask", "arguments": {"question": "Which colour?"}}),
        )
        .await;
    let request = stream.method("elicitation/create").await;
    assert!(
        request["params"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("Which colour?"))
    );
    let answered = client
        .respond(
            &request["id"],
            json!({"action": "accept", "content": {"answer": "teal"}}),
        )
        .await;
    assert_eq!(answered.status, 202);
    let response = stream.answer_to(&id).await;
    assert!(response["result"].to_string().contains("teal"), "{response}");

    client
        .call("remember", json!({"key": "a", "value": "one"}))
        .await
        .ok();
    let (id, mut stream) = client
        .stream("tools/call", json!({"name": "summarize", "arguments": {}}))
        .await;
    let request = stream.method("sampling/createMessage").await;
    assert!(request["params"].to_string().contains("one"));
    // An answer that nobody asked for, and one of another session, change nothing.
    assert_eq!(client.respond(&json!("made-up-0"), json!({})).await.status, 202);
    let stranger = Client::legacy(&node.url());
    let theirs = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "not mine"}});
    assert_eq!(stranger.respond(&request["id"], theirs).await.status, 202);
    let mine =
        json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "all about one"}});
    client.respond(&request["id"], mine).await;
    let response = stream.answer_to(&id).await;
    assert!(
        response["result"].to_string().contains("all about one"),
        "{response}"
    );
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_told_what_is_missing() {
    let node = Node::start(&NodeOptions::default()).await;
    let legacy = Client::legacy(&node.url())
        .call("ask", json!({"question": "?"}))
        .await;
    assert_eq!(legacy.result()["isError"], true, "{}", legacy.body);
    assert!(legacy.text().contains("elicitation"));
    let modern = Client::modern(&node.url())
        .call("ask", json!({"question": "?"}))
        .await;
    assert_eq!((modern.status, modern.code()), (400, -32021));
    assert!(
        modern.error()["data"]["requiredCapabilities"]["elicitation"].is_object(),
        "{}",
        modern.body
    );
}

/// MRTR: the second round reaches another node, and the seal opens there.
#[tokio::test]
async fn a_modern_client_is_asked_in_rounds_that_any_node_can_take() {
    let cluster = Cluster::of(3).await;
    let client = cluster.modern().capabilities(json!({"elicitation": {}}));
    let arguments = json!({"question": "Which colour?"});
    let second = |state: &Value, input: Value| json!({"name": "ask", "arguments": arguments, "requestState": state, "inputResponses": input});
    let first = client.call("ask", arguments.clone()).await.ok();
    assert_eq!(first.result()["resultType"], "input_required");
    assert_eq!(
        first.result()["inputRequests"]["input"]["method"],
        "elicitation/create"
    );
    let state = first.result()["requestState"].clone();
    let teal = json!({"input": {"action": "accept", "content": {"answer": "teal"}}});
    for _ in 0..3 {
        let done = client
            .request("tools/call", second(&state, teal.clone()))
            .await
            .ok();
        assert_eq!(done.result()["resultType"], "complete");
        assert!(done.body.contains("teal"));
    }
    let again = client.request("tools/call", second(&state, json!({}))).await.ok();
    assert_eq!(again.result()["resultType"], "input_required");
    let forged = json!(format!("{}x", state.as_str().expect("a state")));
    assert_eq!(
        client
            .request("tools/call", second(&forged, teal.clone()))
            .await
            .code(),
        -32602
    );
    let mut other = second(&state, teal);
    other["arguments"]["question"] = json!("Another?");
    assert_eq!(client.request("tools/call", other).await.code(), -32602);
}

/// With a secret in the settings, nodes that share no store open each other's seals.
#[tokio::test]
async fn a_configured_secret_seals_without_a_shared_store() {
    let options =
        || NodeOptions::default().env("MCP_REQUEST_STATE__SECRET", "0123456789abcdef0123456789abcdef");
    let (a, b) = (Node::start(&options()).await, Node::start(&options()).await);
    let stranger = Node::start(&NodeOptions::default()).await;
    let at = |node: &Node| Client::modern(&node.url()).capabilities(json!({"elicitation": {}}));
    let first = at(&a).call("ask", json!({"question": "?"})).await.ok();
    let second = json!({
        "name": "ask", "arguments": {"question": "?"}, "requestState": first.result()["requestState"],
        "inputResponses": {"answer": {"action": "accept", "content": {"answer": "yes"}}},
    });
    at(&b).request("tools/call", second.clone()).await.ok();
    assert_eq!(at(&stranger).request("tools/call", second).await.code(), -32602);
}

#[tokio::test]
async fn progress_and_log_messages_come_before_the_result_and_in_order() {
    let node = Node::start(&NodeOptions::default()).await;
    let steps = |answer: &Answer| {
        let progress = answer
            .messages
            .iter()
            .filter(|message| message["method"] == "notifications/progress");
        progress
            .map(|message| message["params"]["progress"].as_f64().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let logs = |answer: &Answer| {
        answer
            .messages
            .iter()
            .filter(|message| message["method"] == "notifications/message")
            .count()
    };
    let with =
        |meta: Value| json!({"name": "countdown", "arguments": {"from": 3, "interval_ms": 1}, "_meta": meta});
    let legacy = Client::legacy(&node.url());
    let answer = legacy
        .request("tools/call", with(json!({"progressToken": 7})))
        .await
        .ok();
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(steps(&answer), [1.0, 2.0, 3.0]);
    assert_eq!(logs(&answer), 3);
    assert!(
        answer
            .messages
            .last()
            .is_some_and(|last| last.get("result").is_some())
    );
    assert_eq!(answer.messages[0]["params"]["progressToken"], 7);

    let modern = Client::modern(&node.url());
    let quiet = modern.request("tools/call", with(json!({}))).await.ok();
    assert_eq!(
        (steps(&quiet).len(), logs(&quiet)),
        (0, 0),
        "nothing was asked for: {}",
        quiet.body
    );
    let meta = json!({"progressToken": "p", "io.modelcontextprotocol/logLevel": "info"});
    let loud = modern.request("tools/call", with(meta)).await.ok();
    assert_eq!((steps(&loud).len(), logs(&loud)), (3, 3));
    let meta = json!({"io.modelcontextprotocol/logLevel": "error"});
    assert_eq!(logs(&modern.request("tools/call", with(meta)).await.ok()), 0);
}

#[tokio::test]
async fn a_cancelled_call_stops_and_is_not_answered() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    client.session().await;
    let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 100}});
    let (id, mut stream) = client.stream("tools/call", slow).await;
    stream.next_message().await.expect("a first message");
    let cancelled = client
        .notify("notifications/cancelled", json!({"requestId": id}))
        .await;
    assert_eq!(cancelled.status, 202);
    stream.ends_unanswered().await;
    // A modern client cancels by closing its connection.
    let modern = Client::modern(&node.url());
    let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 50}, "_meta": {"progressToken": 1}});
    let (_, mut stream) = modern.stream("tools/call", slow).await;
    stream.next_message().await.expect("a first message");
    drop(stream);
    crate::support::process::eventually("the call of the client that left ends", || async {
        let sent = http_get(format!("{}/metrics", node.url())).await.ok()?;
        sent.text()
            .await
            .ok()?
            .contains("anynode_calls_in_flight 0")
            .then_some(())
    })
    .await;
}

/// A23: `whoami` tells the principal, and none where no credentials are asked for.
#[tokio::test]
async fn whoami_names_the_principal() {
    const TOKEN: &str = "a-token-of-some-length";
    let node = Node::start(&NodeOptions::default().env("MCP_AUTH__TOKENS__ALICE", TOKEN)).await;
    let open = Node::start(&NodeOptions::default()).await;
    for client in [Client::legacy, Client::modern] {
        let alice = client(&node.url()).header("authorization", &format!("Bearer {TOKEN}"));
        let who = alice.call("whoami", json!({})).await.ok();
        assert_eq!(who.result()["structuredContent"]["principal"], "alice");
        let who = client(&open.url()).call("whoami", json!({})).await.ok();
        let who = who.result()["structuredContent"]
            .as_object()
            .expect("facts")
            .clone();
        assert!(!who.contains_key("principal"), "{who:?}");
    }
}
