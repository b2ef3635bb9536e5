//! Scopes: for every request, for a tool, by annotation; what a client is told that lacks one.

use serde_json::json;

use super::{NODES, bearer, call, stages};
use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::issuer::Issuer;

const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource";

fn stepping_up(answer: &Answer, scopes: &str, endpoint: &str) {
    assert_eq!(answer.status, 403, "{}", answer.body);
    let expected = format!(
        "Bearer realm=\"anynode\", error=\"insufficient_scope\", error_description=\"more scopes are needed\", \
         scope=\"{scopes}\", resource_metadata=\"{METADATA}/{endpoint}\""
    );
    assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()));
}

/// T37, T40: the base scopes are for every request, streams too, and each challenge names all that the operation needs.
#[tokio::test]
async fn a_missing_scope_is_403_with_all_scopes_of_the_operation() {
    let issuer = Issuer::start().await;
    let env = [
        ("MCP_AUTH__SCOPES", "mcp:tools"),
        ("MCP_AUTH__TOOL_SCOPES__REMEMBER", "mcp:write"),
        ("MCP_AUTH__SCOPE_IMPLIES__ADMIN", "mcp:tools mcp:write"),
    ];
    for cluster in stages(&issuer, &env).await {
        let of = |scope: &str, url: &str| bearer(Client::legacy(url), &issuer.token(|t| t.scope(scope)));
        let url = cluster.node(0).url();
        let none = of("other", &url);
        stepping_up(&call(&none).await, "mcp:tools", "mcp");
        let base = of("mcp:tools", &url);
        base.call("echo", json!({ "text": "a" })).await.ok();
        let note = json!({ "key": "a", "value": "b" });
        let asked = base.call("remember", note.clone()).await;
        stepping_up(&asked, "mcp:tools mcp:write", "mcp");
        assert_eq!(asked.error()["data"]["scopes"], json!(["mcp:tools", "mcp:write"]));
        assert!(asked.response()["id"].is_number(), "{}", asked.body);
        // The same session goes on with more, on any node. A weaker token of the same user is none the wiser.
        let session = base.session().await.to_owned();
        let more = of("mcp:tools mcp:write", &cluster.turn(1).url()).in_session(&session);
        more.call("remember", note.clone()).await.ok();
        stepping_up(
            &base.call("remember", note.clone()).await,
            "mcp:tools mcp:write",
            "mcp",
        );
        let weak = none.in_session(&session);
        assert_eq!(weak.get(None).await.status().as_u16(), 403);
        assert_eq!(weak.delete().await.status, 403);
        // What a scope stands for.
        of("admin", &url).call("remember", note.clone()).await.ok();
        // All tools are listed: one that is hidden is never asked for.
        assert!(base.list().await.ok().body.contains("\"remember\""));
        let modern = bearer(Client::modern(&url), &issuer.token(|t| t));
        stepping_up(&modern.call("remember", note).await, "mcp:tools mcp:write", "mcp");
    }
}

/// T30: each call of a batch is checked, and none is run if one may not.
#[tokio::test]
async fn a_batch_is_refused_as_a_whole() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[("MCP_AUTH__TOOL_SCOPES__INCREMENT", "mcp:write")]).await {
        let of = |scope: &str| {
            bearer(
                Client::legacy(&cluster.node(0).url()),
                &issuer.token(|t| t.scope(scope)),
            )
        };
        let (weak, strong) = (
            of("mcp:tools").revision("2025-03-26"),
            of("mcp:write").revision("2025-03-26"),
        );
        let session = strong.session().await.to_owned();
        let increment = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "increment", "arguments": { "key": "n" } } });
        let echo = json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": { "name": "echo", "arguments": { "text": "a" } } });
        let batch = json!([echo, increment(1)]).to_string();
        let weak = weak.in_session(&session);
        let refused = weak.post(&weak.session_headers().await, &batch).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
        let counted = strong.call("increment", json!({ "key": "n" })).await.ok();
        assert_eq!(counted.structured()["value"], 1, "{}", counted.body);
    }
}

/// T31: what the body calls counts, and a header that says something else is refused before.
#[tokio::test]
async fn the_body_says_which_tool_is_called() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[("MCP_AUTH__TOOL_SCOPES__REMEMBER", "mcp:write")]).await {
        let url = cluster.node(0).url();
        let legacy = bearer(Client::legacy(&url), &issuer.token(|t| t)).header("mcp-name", "echo");
        let asked = legacy.call("remember", json!({ "key": "a", "value": "b" })).await;
        assert_eq!(asked.status, 403, "{}", asked.body);
    }
}

/// By annotation: what every tool needs that does not say that it only reads.
#[tokio::test]
async fn tools_that_write_need_a_scope_of_their_own() {
    let issuer = Issuer::start().await;
    let env = [
        ("MCP_AUTH__WRITE_SCOPE", "mcp:write"),
        ("MCP_AUTH__TOOL_SCOPES__ECHO", "mcp:echo"),
    ];
    for cluster in stages(&issuer, &env).await {
        let of = |scope: &str| {
            bearer(
                Client::legacy(&cluster.node(0).url()),
                &issuer.token(|t| t.scope(scope)),
            )
        };
        let reader = of("mcp:read");
        reader.call("recall", json!({ "key": "a" })).await;
        assert_eq!(reader.call("recall", json!({ "key": "a" })).await.status, 200);
        for tool in ["increment", "forget", "remember", "no-such-tool"] {
            let asked = reader.call(tool, json!({ "key": "a", "value": "b" })).await;
            stepping_up(&asked, "mcp:write", "mcp");
        }
        stepping_up(
            &reader.call("echo", json!({ "text": "a" })).await,
            "mcp:echo",
            "mcp",
        );
        of("mcp:write")
            .call("increment", json!({ "key": "a" }))
            .await
            .ok();
    }
}

/// The transport of 2024-11-05: the POST that brings the call is refused.
#[tokio::test]
async fn sse_steps_up_too() {
    let issuer = Issuer::start().await;
    let http = http_client().build().expect("a client");
    for cluster in stages(
        &issuer,
        &[
            ("MCP_AUTH__SCOPES", "mcp:tools"),
            ("MCP_AUTH__TOOL_SCOPES__REMEMBER", "mcp:write"),
        ],
    )
    .await
    {
        let url = cluster.node(0).url();
        let token = issuer.token(|t| t);
        let open = http
            .get(format!("{url}/sse"))
            .bearer_auth(&token)
            .header("accept", "text/event-stream");
        let mut stream = crate::support::sse::EventStream::new(open.send().await.expect("a stream"));
        let endpoint = stream.endpoint().await;
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "remember", "arguments": { "key": "a", "value": "b" } } });
        let post = http
            .post(format!("{url}/{endpoint}"))
            .bearer_auth(&token)
            .json(&request);
        stepping_up(
            &Answer::read(post.send().await.expect("an answer")).await,
            "mcp:tools mcp:write",
            "sse",
        );
        let bare = http
            .get(format!("{url}/sse"))
            .header("accept", "text/event-stream");
        let bare = Answer::read(bare.send().await.expect("an answer")).await;
        assert!(
            bare.header("www-authenticate")
                .is_some_and(|told| told.ends_with("/sse\""))
        );
    }
}

/// Tokens of the settings are not bounded by scopes.
#[tokio::test]
async fn tokens_of_the_settings_need_no_scopes() {
    let issuer = Issuer::start().await;
    let env = [
        ("MCP_AUTH__SCOPES", "mcp:tools"),
        ("MCP_AUTH__WRITE_SCOPE", "mcp:write"),
        ("MCP_AUTH__TOKENS__ADMIN", "a-long-enough-token"),
    ];
    for cluster in stages(&issuer, &env).await {
        let admin = bearer(Client::legacy(&cluster.node(0).url()), "a-long-enough-token");
        admin
            .call("remember", json!({ "key": "a", "value": "b" }))
            .await
            .ok();
    }
}

/// A call of a node that dies is run again with what its caller's token said.
#[tokio::test]
async fn a_call_that_is_run_again_has_the_scopes_of_its_caller() {
    let issuer = Issuer::start().await;
    let own = issuer.env();
    let env: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let cluster = Cluster::of_example("hints", NODES, &env).await;
    let mut prices = Vec::new();
    for scope in ["mcp:tools members", "mcp:tools"] {
        prices.push((
            issuer.token(|t| t.scope(scope)),
            42 - 2 * u32::from(scope.contains("members")),
        ));
    }
    let url = cluster.node(0).url();
    let mut calls = Vec::new();
    for (token, price) in prices {
        let client = bearer(Client::legacy(&url), &token);
        let arguments = json!({ "name": "quote", "arguments": { "to": "Oslo", "takes_ms": 2000 } });
        let (id, mut stream) = client.stream("tools/call", arguments).await;
        let first = stream
            .next()
            .await
            .and_then(|event| event.id)
            .expect("a priming event");
        calls.push((client, id, first, price));
    }
    cluster.node(0).kill9().await;
    let survivor = cluster.node(1).url();
    for (client, id, first, price) in calls {
        let mut resumed = client.at(&survivor).resume(&first).await;
        let answer = resumed.answer_to(&id).await;
        let text = answer["result"]["content"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned();
        assert!(
            text.starts_with(&format!("a trip to Oslo costs {price}, says ")),
            "{text}"
        );
        assert!(!text.ends_with(&cluster.node(0).id()), "{text}");
    }
}
