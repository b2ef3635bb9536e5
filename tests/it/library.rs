//! The library serves any rmcp handler: state in the session, panics that stay with their call, peers that do
//! not mix.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients still use it"
)]

use std::sync::Arc;
use std::time::Duration;

use anynode::Handler;
use anynode::app::Running;
use anynode::config::ReplyForm;
use anynode::session::{Caller, Session};
use anynode::{App, Settings};
use futures::future::{BoxFuture, join_all};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ClientNotification, ClientRequest, ElicitRequestParams, ElicitResult, ErrorCode, InitializeRequestParams,
    InitializeResult, LoggingLevel, LoggingMessageNotificationParam, ServerCapabilities, ServerConfig,
    ServerResult, Tool,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::client::{Client, on_the_wire};
use crate::support::process::{PATIENCE, eventually};

mod bounds;
mod cancelled;
mod errors;
mod no_peer;
mod subscriptions;
mod versions;

/// A handler with one tool for each thing to prove.
#[derive(Debug, Default, Clone)]
struct Sample {
    initialized: Arc<Notify>,
    refuses: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    name: String,
}

#[tool_router]
impl Sample {
    #[tool(description = "Panics")]
    async fn explode(&self) -> String {
        panic!("this panic is part of the test")
    }

    #[tool(description = "Counts in the session")]
    async fn count(&self, session: Session) -> Result<String, ErrorData> {
        let counted = session
            .update("count", |count: Option<u64>| Some(count.unwrap_or(0) + 1))
            .await?;
        Ok(counted.unwrap_or(0).to_string())
    }

    #[tool(description = "Sets, reads, lists and removes state of the session")]
    async fn keep(&self, session: Session) -> Result<String, ErrorData> {
        session.set("a", &json!({"x": [1, 2]})).await?;
        let read: Option<Value> = session.get("a").await?;
        let all = session.entries().await?;
        let removed = session.remove("a").await?;
        let left: Option<Value> = session.get("a").await?;
        Ok(json!({"read": read, "all": all, "removed": removed, "left": left}).to_string())
    }

    #[tool(description = "Fills the session's state until it is refused")]
    async fn overfill(&self, session: Session) -> String {
        for key in 0..1000 {
            if let Err(error) = session.set(&format!("key-{key}"), &"v").await {
                return format!("{key}: {error}");
            }
        }
        "no bound".into()
    }

    #[tool(description = "Sends its name from a task of its own, then asks for it back")]
    async fn chatter(
        &self,
        Parameters(Named { name }): Parameters<Named>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        let (peer, text) = (context.peer.clone(), name.clone());
        let told = tokio::spawn(async move {
            let message = LoggingMessageNotificationParam::new(LoggingLevel::Error, json!(text));
            peer.notify_logging_message(message).await
        });
        told.await
            .expect("no panic")
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let form = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: name.clone(),
            requested_schema: serde_json::from_value(form).expect("a schema"),
        };
        let answer: ElicitResult = context
            .peer
            .create_elicitation(params)
            .await
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(answer.content.map_or_else(String::new, |content| {
            content["name"].as_str().unwrap_or_default().to_owned()
        }))
    }

    #[tool(description = "Says what the caller is, and which header it sent")]
    async fn seen(&self, caller: Caller) -> String {
        let header = caller.request.header("X-Test");
        format!("{} {}", caller.era(), header.unwrap_or("none"))
    }

    #[tool(description = "Waits far too long")]
    async fn sleep(&self) -> String {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        "awake".into()
    }
}

#[tool_handler]
impl ServerHandler for Sample {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_logging()
                .build(),
        )
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        if self.refuses {
            return Err(ErrorData::new(ErrorCode(-32050), "not today", None));
        }
        self.negotiate_initialize(&request)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if context.extensions.get::<Session>().is_some() && context.extensions.get::<Caller>().is_some() {
            self.initialized.notify_one();
        }
    }
}

async fn serve(handler: impl Handler, change: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = Settings {
        port: 0,
        ..Settings::default()
    };
    change(&mut settings);
    App::builder()
        .settings(settings)
        .handler(move || handler)
        .spawn()
        .await
        .expect("the node starts")
}

/// A handler that panics as soon as it is asked for some things, before there is anything to await.
#[derive(Debug, Default)]
struct Sudden(Sample);

impl Handler for Sudden {
    fn request<'a>(
        &'a self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<ServerResult, ErrorData>> {
        if let ClientRequest::CallToolRequest(call) = &request {
            assert_ne!(call.params.name, "explode", "this panic is part of the test");
        }
        Handler::request(&self.0, request, context)
    }

    fn notification<'a>(
        &'a self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> BoxFuture<'a, ()> {
        Handler::notification(&self.0, notification, context)
    }

    fn info(&self) -> ServerConfig {
        Handler::info(&self.0)
    }

    fn tool(&self, name: &str) -> Option<Tool> {
        Handler::tool(&self.0, name)
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_of_that_call_alone() {
    panics_stay_with_their_calls(Sample::default()).await;
}

#[tokio::test]
async fn a_panic_of_a_handler_that_is_only_asked_is_caught_as_well() {
    panics_stay_with_their_calls(Sudden::default()).await;
}

async fn panics_stay_with_their_calls(handler: impl Handler) {
    // Each call gives its place back.
    let node = serve(handler, |settings| settings.call.session_max = 1).await;
    let client = Client::legacy(node.address());
    for _ in 0..3 {
        let answer = client.call("explode", json!({})).await;
        assert_eq!((answer.status, answer.code()), (200, -32603), "{}", answer.body);
        assert!(
            !answer.body.contains("part of the test"),
            "the panic's words are not the client's business"
        );
        assert_eq!(client.call("seen", json!({})).await.ok().text(), "legacy none");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_handler_keeps_state_in_the_session() {
    let node = serve(Sample::default(), |_| {}).await;
    let (one, other) = (Client::legacy(node.address()), Client::legacy(node.address()));
    one.session().await;
    for answer in join_all((0..20).map(|_| one.call("count", json!({})))).await {
        answer.ok();
    }
    assert_eq!(one.call("count", json!({})).await.ok().text(), "21");
    assert_eq!(other.call("count", json!({})).await.ok().text(), "1");
    let kept: Value = serde_json::from_str(other.call("keep", json!({})).await.ok().text()).expect("JSON");
    assert_eq!(
        kept,
        json!({
            "read": {"x": [1, 2]}, "all": [["a", {"x": [1, 2]}], ["count", 1]], "removed": {"x": [1, 2]}, "left": null
        })
    );
    let refused = other.call("overfill", json!({})).await.ok().text().to_owned();
    assert!(refused.starts_with("255: it holds 256 keys already"), "{refused}");
    // A modern client has no session, and the tool answers that instead of failing.
    let modern = Client::modern(node.address()).call("count", json!({})).await;
    assert_eq!(modern.code(), -32600, "{}", modern.body);
    node.stop().await;
}

#[tokio::test]
async fn what_calls_send_at_the_same_time_never_mixes() {
    let node = serve(Sample::default(), |_| {}).await;
    let client = Client::legacy(node.address()).capabilities(json!({"elicitation": {}}));
    client.session().await;
    let chat = |number: usize| {
        let client = client.clone();
        async move {
            let name = format!("call {number}");
            let arguments = json!({"name": "chatter", "arguments": {"name": name}});
            let (id, mut stream) = client.stream("tools/call", arguments).await;
            let log = stream.method("notifications/message").await;
            assert_eq!(log["params"]["data"], name);
            let request = stream.method("elicitation/create").await;
            assert_eq!(request["params"]["message"], name);
            assert_eq!(request["params"]["_meta"]["progressToken"], request["id"]);
            let answer = json!({"action": "accept", "content": {"name": name}});
            client.respond(&request["id"], answer).await;
            let response = stream.answer_to(&id).await;
            assert_eq!(response["result"]["content"][0]["text"], name);
            request["id"].as_str().expect("a string id").to_owned()
        }
    };
    let mut ids = join_all((0..32).map(chat)).await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 32, "ids of server requests are unique in the session");
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_never_answers_ends_the_wait_and_not_the_call() {
    let node = serve(Sample::default(), |settings| {
        settings.call.answer_timeout = Duration::from_millis(200)
    })
    .await;
    let client = Client::legacy(node.address()).capabilities(json!({"elicitation": {}}));
    let (id, mut stream) = client
        .stream(
            "tools/call",
            json!({"name": "chatter", "arguments": {"name": "a"}}),
        )
        .await;
    let request = stream.method("elicitation/create").await;
    let cancelled = stream.method("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
    let response = stream.answer_to(&id).await;
    assert!(
        response["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("did not answer")),
        "{response}"
    );
    node.stop().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_by_an_error() {
    let node = serve(Sample::default(), |settings| {
        settings.call.timeout = Duration::from_millis(300)
    })
    .await;
    for client in [Client::legacy(node.address()), Client::modern(node.address())] {
        let answer = client.call("sleep", json!({})).await;
        assert_eq!(answer.code(), -32000, "{}", answer.body);
        assert!(
            answer.error()["message"]
                .as_str()
                .is_some_and(|text| text.contains("did not finish"))
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn handlers_see_headers_notifications_and_may_refuse_to_initialize() {
    let handler = Sample::default();
    let initialized = Arc::clone(&handler.initialized);
    let node = serve(handler, |_| {}).await;
    let client = Client::legacy(node.address()).header("x-test", "yes");
    assert_eq!(client.call("seen", json!({})).await.ok().text(), "legacy yes");
    timeout(PATIENCE, initialized.notified())
        .await
        .expect("the handler hears that the client is ready");
    assert_eq!(
        Client::modern(node.address())
            .call("seen", json!({}))
            .await
            .ok()
            .text(),
        "modern none"
    );
    node.stop().await;

    let node = serve(
        Sample {
            refuses: true,
            ..Sample::default()
        },
        |_| {},
    )
    .await;
    let refused = Client::legacy(node.address()).initialize().await;
    assert_eq!((refused.status, refused.code()), (200, -32050));
    assert!(refused.header("mcp-session-id").is_none());
    node.stop().await;
}

#[tokio::test]
async fn a_log_level_needs_no_code_in_the_handler() {
    let node = serve(Sample::default(), |_| {}).await;
    let client = Client::legacy(node.address());
    let set = client
        .request("logging/setLevel", json!({"level": "alert"}))
        .await
        .ok();
    assert_eq!(set.result(), &json!({}));
    node.stop().await;
}

/// When a program drops a node without stopping it, nobody listens there any longer, its streams end, and so
/// do calls whose handlers run in the task of their connection.
#[tokio::test]
async fn a_node_that_is_dropped_is_gone() {
    let node = serve(Sample::default(), |_| {}).await;
    let json = serve(Sample::default(), |settings| {
        settings.call.reply = ReplyForm::Json
    })
    .await;
    let client = Client::legacy(node.address());
    client.list().await.ok();
    let (_id, mut stream) = client.stream("tools/call", json!({"name": "sleep"})).await;
    let address = node.address().trim_start_matches("http://").to_owned();
    let (headers, call) = Client::modern(json.address())
        .message("tools/call", json!({"name": "sleep"}), Some(json!(1)))
        .await;
    let connected = TcpStream::connect(json.address().trim_start_matches("http://")).await;
    let mut connection = connected.expect("it listens");
    let request = on_the_wire(&headers, &call.to_string());
    connection.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let early = timeout(Duration::from_millis(500), connection.read_to_end(&mut answer)).await;
    assert!(early.is_err(), "the handler sleeps");
    drop(json);
    let ended = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    ended.expect("its connection ends").ok();
    assert_eq!(answer, b"");
    drop(node);
    while stream.next().await.is_some() {}
    eventually("nobody listens", || async {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
}
