//! What the tools do, seen by clients of both eras.

use std::sync::Arc;

use serde_json::{Value, json};

use super::testing::{Client, Memory};
use crate::session::Principal;

fn store() -> Arc<Memory> {
    Arc::default()
}

#[tokio::test]
async fn a_session_has_a_notebook_of_its_own() {
    let store = store();
    let client = Client::legacy(&store, json!({}));
    let other = Client::legacy(&store, json!({}));
    let remembered = client
        .facts("remember", json!({"key": "a b", "value": {"n": null}}))
        .await;
    assert_eq!(
        remembered,
        json!({"key": "a b", "notebook": "session", "uri": "note://session/a%20b"})
    );
    let recalled = client.facts("recall", json!({"key": "a b"})).await;
    assert_eq!(
        recalled,
        json!({"key": "a b", "found": true, "value": {"n": null}})
    );
    assert_eq!(other.facts("recall", json!({"key": "a b"})).await["found"], false);
    let listed = client.facts("list_notes", json!({"prefix": "a"})).await;
    assert_eq!(
        listed["notes"],
        json!([{"key": "a b", "preview": "{\"n\":null}"}])
    );
    assert_eq!(
        client.facts("forget", json!({"key": "a b"})).await["forgotten"],
        true
    );
    assert_eq!(
        client.facts("forget", json!({"key": "a b"})).await["forgotten"],
        false
    );
}

#[tokio::test]
async fn notes_do_not_mix_with_other_state_of_the_session() {
    let store = store();
    let client = Client::legacy(&store, json!({}));
    let session = client.caller.session.as_ref().unwrap();
    session.set("key", &1).await.unwrap();
    assert_eq!(client.facts("list_notes", json!({})).await["count"], 0);
    client.facts("remember", json!({"key": "key", "value": 2})).await;
    assert_eq!(session.get::<i64>("key").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_shared_notebook_is_for_whoever_has_its_handle_in_either_era() {
    let store = store();
    let legacy = Client::legacy(&store, json!({}));
    let modern = Client::modern(&store, json!({}));
    let failure = modern.failure("recall", json!({"key": "k"})).await;
    assert!(failure.contains("open_notebook"), "{failure}");
    let opened = modern.facts("open_notebook", json!({})).await;
    assert_eq!(opened["expiresInSeconds"], 3600);
    let notebook = &opened["notebook"];
    let arguments = json!({"key": "k", "value": "v", "notebook": notebook});
    modern.facts("remember", arguments).await;
    let arguments = json!({"key": "k", "notebook": notebook});
    assert_eq!(legacy.facts("recall", arguments).await["value"], "v");
    for handle in ["00000000-0000-4000-8000-000000000000", "nonsense", "{x}"] {
        let failure = legacy
            .failure("recall", json!({"key": "k", "notebook": handle}))
            .await;
        assert!(failure.contains("open_notebook"), "{failure}");
    }
}

#[tokio::test]
async fn increments_add_up_and_leave_other_values_alone() {
    let store = store();
    let client = Client::legacy(&store, json!({}));
    assert_eq!(client.facts("increment", json!({"key": "n"})).await["value"], 1);
    assert_eq!(
        client.facts("increment", json!({"key": "n", "by": -5})).await["value"],
        -4
    );
    client
        .facts("remember", json!({"key": "text", "value": "seven"}))
        .await;
    let failure = client.failure("increment", json!({"key": "text"})).await;
    assert!(failure.contains("whole number"), "{failure}");
    client
        .facts("remember", json!({"key": "max", "value": i64::MAX}))
        .await;
    client.failure("increment", json!({"key": "max"})).await;
    assert_eq!(
        client.facts("recall", json!({"key": "max"})).await["value"],
        i64::MAX
    );
}

#[tokio::test]
async fn bad_arguments_and_unknown_tools_are_invalid_params() {
    let client = Client::legacy(&store(), json!({}));
    for (tool, arguments, words) in [
        ("echo", json!({}), "missing field `text`"),
        ("recall", json!({"key": ""}), "1 to 251 bytes"),
        ("recall", json!({"key": "k", "notebok": "x"}), "notebok"),
        ("remember", json!({"key": "k"}), "missing field `value`"),
        ("countdown", json!({"from": 101}), "1 to 100"),
        ("countdown", json!({"from": -1}), "-1"),
        ("nothing", json!({}), "unknown tool"),
    ] {
        let error = client.call(tool, arguments).await.unwrap_err();
        assert_eq!(error.code.0, -32602, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_store_out_of_reach_is_an_error_to_retry() {
    let store = store();
    let client = Client::legacy(&store, json!({}));
    store.go_away();
    let error = client.call("recall", json!({"key": "k"})).await.unwrap_err();
    assert_eq!(error.code.0, -32000);
    assert!(!error.to_string().contains("secret"));
    assert_eq!(client.facts("echo", json!({"text": "hi"})).await["text"], "hi");
}

#[tokio::test]
async fn whoami_tells_no_session_id() {
    let client = Client::legacy(&store(), json!({}));
    let result = client.call("whoami", json!({})).await.unwrap();
    assert_eq!(
        result["structuredContent"],
        json!({
            "node": "node-1", "era": "legacy", "revision": "2025-11-25", "restored": false, "session": true,
            "client": {"name": "test", "version": "1"}
        })
    );
    let id = client.caller.session.as_ref().unwrap().id().as_str();
    assert!(!result.to_string().contains(id));
}

#[tokio::test(start_paused = true)]
async fn a_countdown_reports_each_step() {
    let client = Client::legacy(&store(), json!({}));
    let params = json!({
        "name": "countdown", "arguments": {"from": 2, "interval_ms": 1000}, "_meta": {"progressToken": "p"}
    });
    let result = client.request("tools/call", params).await.unwrap();
    assert_eq!(result["structuredContent"], json!({"counted": 2}));
    assert_eq!(
        client.heard_methods(),
        [
            "notifications/progress",
            "notifications/message",
            "notifications/progress",
            "notifications/message"
        ]
    );
    let heard = client.heard.lock().unwrap();
    assert_eq!(
        heard[2]["params"],
        json!({"progressToken": "p", "progress": 2.0, "total": 2.0, "message": "0 to go"})
    );
    assert_eq!(
        heard[3]["params"],
        json!({"level": "info", "logger": "countdown", "data": {"left": 0}})
    );
}

#[tokio::test(start_paused = true)]
async fn a_countdown_can_be_cancelled() {
    let client = Client::legacy(&store(), json!({}));
    client.cancel.cancel();
    let failure = client.failure("countdown", json!({"from": 100})).await;
    assert!(failure.starts_with("Cancelled, 100 before"), "{failure}");
}

#[tokio::test]
async fn a_legacy_client_is_asked_by_a_request() {
    let store = store();
    let mut client = Client::legacy(&store, json!({"elicitation": {}, "sampling": {}}));
    client.answer = json!({"action": "accept", "content": {"answer": "blue"}});
    let asked = client.facts("ask", json!({"question": "Which?"})).await;
    assert_eq!(asked, json!({"action": "accept", "answer": "blue"}));
    client.answer = json!({"action": "decline"});
    let asked = client.facts("ask", json!({"question": "Which?"})).await;
    assert_eq!(asked, json!({"action": "decline"}));
    let failure = client.failure("summarize", json!({})).await;
    assert!(failure.contains("nothing to summarize"), "{failure}");
    client.answer = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Short."}});
    let summary = client.facts("summarize", json!({"text": "Long."})).await;
    assert_eq!(summary, json!({"summary": "Short.", "model": "m"}));
    assert_eq!(
        client.heard_methods(),
        [
            "elicitation/create",
            "elicitation/create",
            "sampling/createMessage"
        ]
    );
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_told_what_it_lacks() {
    let store = store();
    let legacy = Client::legacy(&store, json!({"elicitation": {"url": {}}}));
    let failure = legacy.failure("ask", json!({"question": "?"})).await;
    assert!(failure.contains("`elicitation.form`"), "{failure}");
    let failure = legacy.failure("summarize", json!({"text": "x"})).await;
    assert!(failure.contains("`sampling`"), "{failure}");
    let modern = Client::modern(&store, json!({}));
    let error = modern.call("ask", json!({"question": "?"})).await.unwrap_err();
    assert_eq!(error.code.0, -32021);
    assert_eq!(
        error.data,
        Some(json!({"requiredCapabilities": {"elicitation": {}}}))
    );
}

fn second_round(tool: &str, arguments: &Value, first: &Value, responses: Value) -> Value {
    json!({
        "name": tool, "arguments": arguments, "requestState": first["requestState"], "inputResponses": responses
    })
}

#[tokio::test]
async fn a_modern_client_is_asked_in_a_second_round() {
    let mut client = Client::modern(&store(), json!({"elicitation": {}, "sampling": {}}));
    let arguments = json!({"question": "Which?"});
    let first = client.call("ask", arguments.clone()).await.unwrap();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first["inputRequests"]["input"]["method"], "elicitation/create");

    let accepted = json!({"input": {"action": "accept", "content": {"answer": "blue"}}});
    let params = second_round("ask", &arguments, &first, accepted.clone());
    let result = client.request("tools/call", params).await.unwrap();
    assert_eq!(
        result["structuredContent"],
        json!({"action": "accept", "answer": "blue"})
    );
    assert_eq!(result["resultType"], "complete");

    let wrong_key = second_round("ask", &arguments, &first, json!({"other": {}}));
    let again = client.request("tools/call", wrong_key).await.unwrap();
    assert_eq!(again["resultType"], "input_required");

    // An answer to the first question needs no state: it is the client's to give.
    let mut stateless = second_round("ask", &arguments, &first, accepted.clone());
    stateless.as_object_mut().unwrap().remove("requestState");
    let result = client.request("tools/call", stateless).await.unwrap();
    assert_eq!(result["structuredContent"]["answer"], "blue");

    let mut forged = second_round("ask", &arguments, &first, accepted.clone());
    forged["requestState"] = json!("rs1.x.y");
    let stolen = second_round("ask", &arguments, &first, accepted.clone());
    for params in [
        second_round("ask", &arguments, &first, json!({"input": 7})),
        second_round("ask", &arguments, &first, json!({"input": {"action": "accept"}})),
        second_round("ask", &json!({"question": "Else?"}), &first, accepted),
        forged,
    ] {
        let error = client.request("tools/call", params).await.unwrap_err();
        assert_eq!(error.code.0, -32602, "{error}");
    }
    client.caller.principal = Principal("somebody else".into());
    let error = client.request("tools/call", stolen).await.unwrap_err();
    assert_eq!(error.code.0, -32602, "{error}");
    assert!(client.heard_methods().is_empty());
}

#[tokio::test]
async fn a_modern_client_sums_up_in_a_second_round() {
    let client = Client::modern(&store(), json!({"elicitation": {}, "sampling": {}}));
    let arguments = json!({"text": "Long."});
    let first = client.call("summarize", arguments.clone()).await.unwrap();
    let request = &first["inputRequests"]["input"];
    assert_eq!(request["method"], "sampling/createMessage");
    assert!(request["params"]["messages"].to_string().contains("Long."));
    let wrote = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Short."}});
    let params = second_round("summarize", &arguments, &first, json!({"input": wrote}));
    let result = client.request("tools/call", params).await.unwrap();
    assert_eq!(
        result["structuredContent"],
        json!({"summary": "Short.", "model": "m"})
    );
}

#[tokio::test]
async fn notes_are_resources() {
    let store = store();
    let legacy = Client::legacy(&store, json!({}));
    let modern = Client::modern(&store, json!({}));
    legacy
        .facts("remember", json!({"key": "t", "value": "text"}))
        .await;
    let listed = legacy.request("resources/list", json!({})).await.unwrap();
    assert_eq!(
        listed["resources"],
        json!([{"uri": "note://session/t", "name": "t", "mimeType": "text/plain", "size": 4}])
    );
    let uri = json!({"uri": "note://session/t"});
    let read = legacy.request("resources/read", uri.clone()).await.unwrap();
    assert_eq!(
        read["contents"],
        json!([{"uri": "note://session/t", "mimeType": "text/plain", "text": "text"}])
    );
    let missing = json!({"uri": "note://session/none"});
    let error = legacy
        .request("resources/read", missing.clone())
        .await
        .unwrap_err();
    assert_eq!((error.code.0, error.data), (-32002, Some(missing)));
    legacy.request("resources/subscribe", uri.clone()).await.unwrap();

    let none = modern.request("resources/list", json!({})).await.unwrap();
    assert_eq!(none["resources"], json!([]));
    let error = modern.request("resources/read", uri).await.unwrap_err();
    assert_eq!(error.code.0, -32602);
    let opened = modern.facts("open_notebook", json!({})).await;
    let arguments = json!({"key": "n", "value": [1], "notebook": opened["notebook"]});
    let uri = modern.facts("remember", arguments).await["uri"].clone();
    let read = modern
        .request("resources/read", json!({"uri": uri}))
        .await
        .unwrap();
    assert_eq!(read["contents"][0]["text"], "[1]");
}

#[tokio::test]
async fn keys_are_completed_and_notes_handed_over() {
    let store = store();
    let client = Client::legacy(&store, json!({}));
    for key in ["goal", "gone", "todo"] {
        client.facts("remember", json!({"key": key, "value": 1})).await;
    }
    let complete = |context: Value| {
        json!({
            "ref": {"type": "ref/resource", "uri": "note://{notebook}/{key}"},
            "argument": {"name": "key", "value": "go"}, "context": context
        })
    };
    let params = complete(json!({"arguments": {"notebook": "session"}}));
    let completed = client.request("completion/complete", params).await.unwrap();
    assert_eq!(
        completed["completion"],
        json!({"values": ["goal", "gone"], "total": 2, "hasMore": false})
    );
    let params = complete(json!({"arguments": {"notebook": "not yet typed"}}));
    let completed = client.request("completion/complete", params).await.unwrap();
    assert_eq!(completed["completion"]["values"], json!([]));

    let params = json!({"name": "handoff", "arguments": {"to": "Bo"}});
    let prompt = client.request("prompts/get", params).await.unwrap();
    let text = prompt["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("Bo") && text.contains("- \"goal\": 1"), "{text}");
}

#[tokio::test]
async fn without_a_caller_the_server_says_that_it_is_mounted_wrong() {
    let mut client = Client::legacy(&store(), json!({}));
    client.named = false;
    let called = client.call("recall", json!({"key": "k"})).await;
    assert_eq!(called.unwrap_err().code.0, -32603);
    let listed = client.request("resources/list", json!({})).await;
    assert_eq!(listed.unwrap_err().code.0, -32603);
}
