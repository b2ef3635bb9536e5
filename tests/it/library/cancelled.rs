//! A client cancels a call at any node. The handler is told once, on the node that runs the call.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anynode::session::{Caller, Session};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CancelledNotificationParam, ProgressNotificationParam, ServerCapabilities, ServerConfig};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::calls::gauge;
use crate::support::client::{Answer, Client};
use crate::support::http::http_client;
use crate::support::inside::Inside;
use crate::support::process::{eventually, until};

/// Waits for its cancellation, and notes what it hears of it. Its clones note together.
#[derive(Debug, Default, Clone)]
struct Waits {
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The nodes on which the token of a call has fired.
    fired: Vec<String>,
    /// What `on_cancelled` was told: the node, the request's id, the reason, the session.
    told: Vec<(String, Value, Option<String>, String)>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Wait {
    /// Whether the call sends something first, so that other nodes know it.
    speaks: bool,
}

#[tool_router]
impl Waits {
    #[tool(description = "Waits until it is cancelled")]
    async fn wait(
        &self,
        Parameters(Wait { speaks }): Parameters<Wait>,
        caller: Caller,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        if let Some(token) = context.meta.get_progress_token().filter(|_| speaks) {
            let progress = ProgressNotificationParam::new(token, 1.0);
            let told = context.peer.notify_progress(progress).await;
            told.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        }
        context.ct.cancelled().await;
        self.heard
            .lock()
            .expect("no panic")
            .fired
            .push(caller.node.to_string());
        Ok("cancelled".into())
    }
}

#[tool_handler]
impl ServerHandler for Waits {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn on_cancelled(
        &self,
        cancelled: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        let caller = context.extensions.get::<Caller>().expect("a caller");
        let session = context.extensions.get::<Session>().expect("a session");
        let id = cancelled.request_id.expect("the call's id").into_json_value();
        let told = (
            caller.node.to_string(),
            id,
            cancelled.reason,
            session.id().as_str().to_owned(),
        );
        self.heard.lock().expect("no panic").told.push(told);
    }
}

impl Waits {
    fn told(&self) -> Vec<(String, Value, Option<String>, String)> {
        self.heard.lock().expect("no panic").told.clone()
    }

    fn fired(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").fired.clone()
    }
}

fn wait(id: &Value, speaks: bool) -> Value {
    let params = json!({"name": "wait", "arguments": {"speaks": speaks}, "_meta": {"progressToken": 1}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

async fn cancel(client: &Client, id: &Value, reason: Option<&str>) {
    let mut params = json!({"requestId": id});
    if let Some(reason) = reason {
        params["reason"] = reason.into();
    }
    let noted = client.notify("notifications/cancelled", params).await;
    assert_eq!(noted.status, 202, "{}", noted.body);
}

/// Begins a call on that node. What is returned ends when the call has ended, without an answer.
async fn begin(client: &Client, url: &str, id: &Value, speaks: bool) -> tokio::task::JoinHandle<()> {
    let (client, url, call) = (client.at(url), url.to_owned(), wait(id, speaks));
    let headers = client.session_headers().await;
    if speaks {
        let mut stream = client.open(&headers, &call).await;
        stream.method("notifications/progress").await;
        return tokio::spawn(async move { stream.ends_unanswered().await });
    }
    let answer = tokio::spawn(async move {
        let Answer { status, body, .. } = client.post(&headers, &call.to_string()).await;
        assert_eq!((status, body.as_str()), (202, ""));
    });
    until("the call runs", async || {
        gauge(&url, "anynode_calls_in_flight").await > 0.0
    })
    .await;
    answer
}

#[tokio::test]
async fn a_handler_is_told_once_on_the_node_that_runs_the_call() {
    let handler = Waits::default();
    // A call that sends nothing stays known to its own node alone.
    let stages = Inside::stages_with(handler.clone(), |settings| {
        settings.call.reply_grace = Duration::from_secs(60);
    });
    for nodes in stages.await {
        let client = nodes.client();
        let session = client.session().await.to_owned();
        let mut expected = handler.told();
        for (round, speaks) in [
            (0, true),
            (1, true),
            (2, true),
            (0, false),
            (1, false),
            (2, false),
        ] {
            let (id, reason) = (json!(format!("call {round}")), format!("round {round}, {speaks}"));
            let ended = begin(&client, nodes.url(0), &id, speaks).await;
            // Twice, and through two nodes: the handler is told of the first.
            let reason = (round > 0).then_some(reason.as_str());
            for node in [round, round + 1] {
                cancel(&client.at(nodes.url(node)), &id, reason).await;
            }
            ended.await.expect("no panic");
            expected.push(("node-0".into(), id, reason.map(str::to_owned), session.clone()));
            let told = eventually("the handler is told", async || {
                Some(handler.told()).filter(|told| told.len() >= expected.len())
            })
            .await;
            assert_eq!(told, expected);
            nodes.no_call_is_left().await;
        }
        // Nobody runs these.
        for id in [json!("call 0"), json!(7), Value::from("never was")] {
            cancel(&client, &id, None).await;
        }
        nodes.no_call_is_left().await;
        assert_eq!(handler.told(), expected);
        nodes.stop().await;
        assert_eq!(handler.told(), expected);
    }
}

/// The message to the node that runs the call is lost: the call finds in the store what was noted there.
#[tokio::test]
async fn a_cancellation_that_is_only_in_the_store_is_found_and_told() {
    let handler = Waits::default();
    let nodes = Inside::of(1, handler.clone()).await;
    let (client, id) = (nodes.client(), json!("lost"));
    let session = client.session().await.to_owned();
    let ended = begin(&client, nodes.url(0), &id, true).await;
    let redis = nodes.redis().expect("a Redis");
    let [calls] = &redis.keys("*calls:{session:*}").await[..] else {
        panic!("the calls of one session")
    };
    let fields = redis.command(&["HKEYS", calls]).await.texts();
    let mut names = fields.iter().filter_map(|field| field.strip_prefix("began:"));
    let stop = format!("stop:{}", names.next().expect("the call is registered"));
    let [seconds, _micros] = &redis.command(&["TIME"]).await.texts()[..] else {
        panic!("the time has two parts")
    };
    let ends = seconds.parse::<u64>().expect("seconds") + 60;
    let noted = format!("{seconds}000000/{ends}000000/no message");
    let noted = ["HSET", calls, "cancelled:\"lost\"", &noted, &stop, "1"];
    assert_eq!(redis.command(&noted).await.int(), 2);
    ended.await.expect("no panic");
    let told = eventually("the handler is told", async || handler.told().pop()).await;
    assert_eq!(told, ("node-0".into(), id, Some("no message".into()), session));
    nodes.no_call_is_left().await;
    assert_eq!(handler.told().len(), 1);
}

/// What ends a call otherwise fires its token, and is no cancellation by its client.
#[tokio::test]
async fn only_a_client_cancels() {
    let handler = Waits::default();
    let nodes = Inside::with(2, handler.clone(), |_| {}).await;
    let client = nodes.client();
    client.session().await;
    let (headers, call) = client
        .message(
            "tools/call",
            json!({"name": "wait", "arguments": {"speaks": true}, "_meta": {"progressToken": 1}}),
            Some(json!(1)),
        )
        .await;
    let mut stream = client.at(nodes.url(0)).open(&headers, &call).await;
    stream.method("notifications/progress").await;
    assert!(client.at(nodes.url(1)).delete().await.status < 300);
    until("its session's end stops the call", async || {
        handler.fired().len() == 1
    })
    .await;

    // A client of 2026-07-28 cancels a call by closing its stream.
    let modern = Client::modern(nodes.url(0));
    let asked = json!({"name": "wait", "arguments": {"speaks": true}, "_meta": {"progressToken": 1}});
    let (_id, mut stream) = modern.stream("tools/call", asked).await;
    stream.method("notifications/progress").await;
    drop(stream);
    until("the client's going stops the call", async || {
        handler.fired().len() == 2
    })
    .await;
    nodes.no_call_is_left().await;
    nodes.stop().await;
    assert_eq!(handler.fired(), ["node-0", "node-0"]);
    assert_eq!(handler.told(), []);
}

/// The transport of 2024-11-05: the message goes to another node than the call.
#[tokio::test]
async fn a_client_of_http_with_sse_cancels_through_any_node() {
    let handler = Waits::default();
    let nodes = Inside::with(2, handler.clone(), |_| {}).await;
    let http = http_client().build().expect("a client");
    let opened = http.get(format!("{}/sse", nodes.url(0))).send().await;
    let mut stream = crate::support::sse::EventStream::new(opened.expect("a stream"));
    let endpoint = stream.endpoint().await;
    let post = async |node: usize, message: Value| {
        let url = format!("{}/{endpoint}", nodes.url(node));
        let sent = http
            .post(url)
            .header("content-type", "application/json")
            .body(message.to_string());
        let answer = sent.send().await.expect("an answer");
        assert_eq!(answer.status(), 202);
    };
    let introduction = json!({
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"},
    });
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": introduction});
    post(1, initialize).await;
    stream.answer_to(&json!(0)).await;
    post(
        0,
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    )
    .await;
    post(0, wait(&json!(1), true)).await;
    stream.method("notifications/progress").await;
    let params = json!({"requestId": 1, "reason": "changed my mind"});
    post(
        1,
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
    )
    .await;
    let told = eventually("the handler is told", async || handler.told().pop()).await;
    let (node, id, reason, _session) = told;
    assert_eq!(
        (node.as_str(), id, reason.as_deref()),
        ("node-0", json!(1), Some("changed my mind"))
    );
    nodes.no_call_is_left().await;
    drop(stream);
    nodes.stop().await;
    assert_eq!(handler.told().len(), 1);
}
