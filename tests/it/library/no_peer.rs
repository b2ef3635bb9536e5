//! Tools that were said to be silent: their calls share a peer, which reaches nobody, and are calls like any
//! other.

use std::sync::Arc;
use std::time::Duration;

use anynode::NoPeer;
use anynode::config::ReplyForm;
use anynode::session::Caller;
use anynode::session::tasks::Working;
use rmcp::model::{CallToolResponse, CallToolResult, LoggingLevel, LoggingMessageNotificationParam};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, tool, tool_router};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{Sample, serve};
use crate::support::client::Client;
use crate::support::process::PATIENCE;

/// How long a nap takes.
const NAP: Duration = Duration::from_millis(300);

/// A handler with tools that talk, and some that wait.
#[derive(Debug, Default, Clone)]
struct Talker {
    cancelled: Arc<Notify>,
    rested: Arc<Notify>,
}

async fn talk(context: &RequestContext<RoleServer>) -> String {
    let message = LoggingMessageNotificationParam::new(LoggingLevel::Error, json!("psst"));
    let told = context.peer.notify_logging_message(message).await;
    let asked = context.peer.list_roots().await;
    let words =
        |error: Option<rmcp::ServiceError>| error.map_or("fine".to_owned(), |error| error.to_string());
    json!({"told": words(told.err()), "asked": words(asked.err())}).to_string()
}

#[tool_router(server_handler)]
impl Talker {
    #[tool(description = "Is said to be silent, and talks")]
    async fn whisper(&self, context: RequestContext<RoleServer>) -> String {
        talk(&context).await
    }

    #[tool(description = "Talks")]
    async fn speak(&self, context: RequestContext<RoleServer>) -> String {
        talk(&context).await
    }

    #[tool(description = "Begins a task")]
    async fn begin(&self, caller: Caller) -> Result<CallToolResponse, ErrorData> {
        let work = async move |_task: Working| Ok(CallToolResult::success(Vec::new()));
        Ok(caller.tasks.start(work).await?.into())
    }

    #[tool(description = "Takes a while")]
    async fn nap(&self) -> String {
        sleep(NAP).await;
        self.rested.notify_one();
        "rested".into()
    }

    #[tool(description = "Waits until it is cancelled")]
    async fn wait(&self, context: RequestContext<RoleServer>) -> String {
        context.ct.cancelled().await;
        self.cancelled.notify_one();
        "cancelled".into()
    }
}

#[tokio::test]
async fn what_a_silent_tool_says_reaches_nobody_and_is_an_error() {
    let node = serve(NoPeer::new(Talker::default(), &["whisper"]), |_| {}).await;
    let client = Client::legacy(node.address()).capabilities(json!({"roots": {}}));
    for _ in 0..3 {
        let whispered = client.call("whisper", json!({})).await.ok();
        let kind = whispered.header("content-type");
        assert_eq!(
            kind,
            Some("application/json"),
            "nothing came before: {}",
            whispered.body
        );
        let said: serde_json::Value = serde_json::from_str(whispered.text()).expect("JSON");
        for what in ["told", "asked"] {
            let error = said[what].as_str().expect("text");
            assert!(error.contains("declared silent"), "{what}: {error}");
        }
    }
    // Its siblings talk.
    let speak = json!({"name": "speak", "arguments": {}});
    let (id, mut stream) = client.stream("tools/call", speak).await;
    assert_eq!(
        stream.method("notifications/message").await["params"]["data"],
        "psst"
    );
    let asked = stream.method("roots/list").await;
    client.respond(&asked["id"], json!({"roots": []})).await;
    let spoken = stream.answer_to(&id).await;
    let text = spoken["result"]["content"][0]["text"].as_str();
    assert_eq!(text, Some(r#"{"asked":"fine","told":"fine"}"#));
    node.stop().await;
}

#[tokio::test]
async fn a_silent_call_has_its_session() {
    let node = serve(NoPeer::new(Sample::default(), &["count"]), |_| {}).await;
    let (one, other) = (Client::legacy(node.address()), Client::legacy(node.address()));
    assert_eq!(one.call("count", json!({})).await.ok().text(), "1");
    assert_eq!(other.call("count", json!({})).await.ok().text(), "1");
    assert_eq!(one.call("count", json!({})).await.ok().text(), "2");
    node.stop().await;
}

#[tokio::test]
async fn a_silent_call_is_cancelled_like_any_other() {
    let handler = Talker::default();
    let cancelled = Arc::clone(&handler.cancelled);
    let node = serve(NoPeer::new(handler, &["wait"]), |_| {}).await;
    let one = Client::legacy(node.address());
    // It takes long, so its reply becomes a stream.
    let wait = json!({"name": "wait", "arguments": {}});
    let (id, mut stream) = one.stream("tools/call", wait).await;
    let gone = one
        .notify("notifications/cancelled", json!({"requestId": id}))
        .await;
    assert_eq!(gone.status, 202);
    stream.ends_unanswered().await;
    timeout(PATIENCE, cancelled.notified())
        .await
        .expect("the handler hears of it");
    node.stop().await;
}

#[tokio::test]
async fn a_silent_call_is_answered_in_every_form() {
    const STREAM: &str = "text/event-stream";
    const JSON: &str = "application/json";
    for (form, reply_grace, kind) in [
        (ReplyForm::Json, NAP / 10, JSON),
        (ReplyForm::Sse, NAP / 10, STREAM),
        (ReplyForm::Auto, NAP / 10, STREAM),
        (ReplyForm::Auto, NAP * 100, JSON),
    ] {
        let node = serve(NoPeer::new(Talker::default(), &["nap"]), |settings| {
            settings.call.reply = form;
            settings.call.reply_grace = reply_grace;
        })
        .await;
        for client in [Client::legacy(node.address()), Client::modern(node.address())] {
            let rested = client.call("nap", json!({})).await;
            assert!(
                rested
                    .header("content-type")
                    .is_some_and(|is| is.starts_with(kind))
            );
            assert!(rested.body.contains("rested"), "{form:?}: {}", rested.body);
        }
        // Nothing of the calls goes on.
        timeout(PATIENCE, node.stop()).await.expect("the node stops");
    }
}

#[tokio::test]
async fn a_silent_call_whose_client_hangs_up_goes_on_or_ends_as_its_era_has_it() {
    // A client of a session does not know yet what kind of answer it gets. One of 2026-07-28 may only have
    // closed its half, until its reply is a stream.
    for (tool, grace) in [("nap", NAP * 100), ("wait", NAP)] {
        let handler = Talker::default();
        let (cancelled, rested) = (Arc::clone(&handler.cancelled), Arc::clone(&handler.rested));
        let node = serve(NoPeer::new(handler, &["nap", "wait"]), |settings| {
            settings.call.reply_grace = grace;
        })
        .await;
        let (client, heard) = match tool {
            "nap" => (Client::legacy(node.address()), rested),
            _ => (Client::modern(node.address()), cancelled),
        };
        client.list().await.ok();
        let hung_up = timeout(NAP / 2, client.call(tool, json!({}))).await;
        assert!(hung_up.is_err(), "{tool} takes longer");
        timeout(PATIENCE, heard.notified()).await.expect(tool);
        node.stop().await;
    }
}

#[tokio::test]
async fn a_silent_tool_may_begin_a_task_for_clients_of_either_era() {
    let node = serve(NoPeer::new(Talker::default(), &["begin"]), |_| {}).await;
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    for client in [Client::legacy(node.address()), Client::modern(node.address())] {
        let begun = client
            .capabilities(tasks.clone())
            .call("begin", json!({}))
            .await
            .ok();
        assert!(begun.result()["taskId"].is_string(), "{}", begun.body);
    }
    node.stop().await;
}
