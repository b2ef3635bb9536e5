//! A node inside another program: below its paths and layers, beside its routes, with its listener, its own
//! authentication, and drained with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anynode::app::EmbeddedNode;
use anynode::config::ReplyForm;
use anynode::session::{Caller, Identity, Principal, Session};
use anynode::store::NodeStore;
use anynode::store::memory::MemoryStore;
use anynode::{App, Authenticate, Challenge, Settings};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::request::Parts;
use rmcp::{ErrorData, tool, tool_router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::client::Client;
use crate::support::http::{http_client, http_get};
use crate::support::node::{Node, NodeOptions, example};
use crate::support::process::{PATIENCE, eventually, know_tls, until};

mod authentication;
mod handles;

/// How long balancers get to notice.
const DELAY: Duration = Duration::from_millis(100);

/// What the tests' tools do.
#[derive(Debug, Clone, Default)]
struct Desk {
    /// How many calls of `wait` have begun.
    begun: Arc<Notify>,
    /// Lets a call of `wait` go on.
    go_on: Arc<Notify>,
}

#[tool_router(server_handler)]
impl Desk {
    /// Who calls.
    #[tool]
    fn who(&self, caller: Caller) -> String {
        format!("{:?} {:?}", caller.principal.as_str(), caller.peer.to_string())
    }

    /// What it is told of the credentials.
    #[tool]
    fn told(&self, caller: Caller) -> String {
        format!("{:?}", caller.request.header("x-user"))
    }

    /// Counts in the session.
    #[tool]
    async fn count(&self, session: Session) -> Result<String, ErrorData> {
        let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
        let count = session.update("count", add_one).await;
        let count = count.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(count.unwrap_or(0).to_string())
    }

    /// Waits until the test lets it go on.
    #[tool]
    async fn wait(&self) -> String {
        self.begun.notify_one();
        self.go_on.notified().await;
        "waited".into()
    }
}

/// A program with a node in it.
struct Program {
    address: String,
    /// Tells the program to stop.
    told: oneshot::Sender<()>,
    served: JoinHandle<EmbeddedNode>,
}

impl Program {
    /// Serves below `/deep/tools`, beside a route `/own` with the program's state.
    async fn start(change: impl FnOnce(anynode::app::Builder) -> anynode::app::Builder, desk: Desk) -> Self {
        know_tls();
        let mut settings = Settings::default();
        settings.drain.delay = DELAY;
        let builder = App::builder().settings(settings).handler(|| desk);
        let (mcp, node) = change(builder).build().await.expect("the node starts");
        let program = Router::new()
            .route(
                "/own",
                get(|State(words): State<&'static str>| async move { words }),
            )
            .with_state("of the program")
            .nest("/deep/tools", mcp)
            .merge(node.probes());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (told, stop) = oneshot::channel();
        let draining = node.drain();
        let served = tokio::spawn(async move {
            axum::serve(
                listener,
                program.into_make_service_with_connect_info::<SocketAddr>(),
            )
            .with_graceful_shutdown(async move {
                let _told = stop.await;
                draining.await;
            })
            .await
            .expect("it serves");
            node
        });
        Self {
            address,
            told,
            served,
        }
    }

    /// Where clients connect, without `/mcp`.
    fn url(&self) -> String {
        format!("{}/deep/tools", self.address)
    }

    async fn stop(self) {
        self.told.send(()).expect("it serves");
        self.served.await.expect("no panic").stop().await;
    }
}

/// A node that a program serves at its root, with nothing beside it: its URL, the node, and the server.
async fn served_alone() -> (String, EmbeddedNode, JoinHandle<std::io::Result<()>>) {
    let (mcp, node) = App::builder()
        .handler(Desk::default)
        .build()
        .await
        .expect("the node starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let served = tokio::spawn(async move { axum::serve(listener, mcp).await });
    (url, node, served)
}

async fn get_status(url: &str) -> (u16, String) {
    let response = http_get(url).await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

#[tokio::test]
async fn a_node_is_mounted_below_a_path_of_another_program_beside_its_routes() {
    let program = Program::start(|builder| builder, Desk::default()).await;
    let client = Client::legacy(&program.url());
    for count in 1..=3 {
        assert_eq!(
            client.call("count", json!({})).await.ok().text(),
            count.to_string()
        );
    }
    let who = Client::modern(&program.url()).call("who", json!({})).await.ok();
    assert_eq!(
        who.text(),
        r#""" "address:127.0.0.1""#,
        "the program's server names its clients"
    );
    let own = get_status(&format!("{}/own", program.address)).await;
    assert_eq!(own, (200, "of the program".to_owned()));
    let (status, health) = get_status(&format!("{}/health", program.address)).await;
    assert_eq!(status, 200);
    assert!(health.contains("healthy"), "{health}");
    let nowhere = get_status(&format!("{}/deep/tools/nowhere", program.address)).await;
    assert_eq!(nowhere.0, 404, "the program's own answer");
    program.stop().await;
}

#[tokio::test]
async fn a_program_drains_with_its_node_and_calls_finish() {
    let (desk, store) = (Desk::default(), Arc::new(MemoryStore::new()));
    let kept = Arc::clone(&store);
    let program = Program::start(|builder| builder.store(kept), desk.clone()).await;
    let client = Client::legacy(&program.url());
    client.session().await;
    let stream = client.listen(None).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call("wait", json!({})).await }
    });
    desk.begun.notified().await;
    let ready = format!("{}/readyz", program.address);
    assert_eq!(get_status(&ready).await.0, 200);
    let Program { told, served, .. } = program;
    told.send(()).expect("it serves");
    eventually("the node says that it drains, or listens no longer", async || {
        let answer = http_get(&ready).await;
        answer.map_or(Some(()), |answer| (answer.status().as_u16() == 503).then_some(()))
    })
    .await;
    assert!(!served.is_finished(), "a call is in flight");
    desk.go_on.notify_one();
    assert_eq!(waiting.await.expect("no panic").ok().text(), "waited");
    let node = served.await.expect("all connections end, the stream's too");
    drop(stream);
    node.stop().await;
    assert!(
        !store
            .nodes()
            .await
            .expect("it answers")
            .iter()
            .any(|node| node.lives),
        "the node has left the others"
    );
}

/// The program waited for the end of its connections, and one of them for a call that nobody ended.
#[tokio::test]
async fn a_call_that_does_not_end_holds_a_program_up_to_the_deadline_only() {
    for form in [ReplyForm::Json, ReplyForm::Auto] {
        let desk = Desk::default();
        let program = Program::start(
            |builder| {
                let mut settings = Settings::default();
                settings.drain.delay = DELAY;
                settings.drain.deadline = Duration::from_millis(500);
                settings.call.reply = form;
                builder.settings(settings)
            },
            desk.clone(),
        )
        .await;
        let client = Client::legacy(&program.url());
        client.session().await;
        let (headers, call) = (
            client.session_headers().await,
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait"}}),
        );
        let asked = headers.iter().fold(
            http_client()
                .build()
                .expect("a client")
                .post(format!("{}/mcp", program.url())),
            |asked, (name, value)| asked.header(name, value),
        );
        let asked = asked
            .header("accept", "application/json, text/event-stream")
            .json(&call);
        let waiting = tokio::spawn(async move {
            // It breaks off without an answer, and without words that would have it sent again.
            match asked.send().await {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_broken) => String::new(),
            }
        });
        desk.begun.notified().await;
        timeout(PATIENCE, program.stop()).await.expect("the program ends");
        let got = waiting.await.expect("no panic");
        assert!(!got.contains("again") && !got.contains("waited"), "{got}");
    }
}

#[tokio::test]
async fn an_answer_says_how_long_it_is() {
    let program = Program::start(|builder| builder, Desk::default()).await;
    let answer = Client::modern(&program.url()).call("who", json!({})).await.ok();
    let length = answer.header("content-length").expect("a length");
    assert_eq!(length, answer.body.len().to_string());
    program.stop().await;
}

#[tokio::test]
async fn after_its_node_has_stopped_a_program_refuses_in_words() {
    let (url, node, served) = served_alone().await;
    let client = Client::legacy(&url);
    client.call("who", json!({})).await.ok();
    node.stop().await;
    let refused = client.call("who", json!({})).await;
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.error()["message"],
        "this node is shutting down: send the request again, another node will take it"
    );
    served.abort();
}

#[tokio::test]
async fn a_node_that_is_dropped_leaves_no_task_behind() {
    let (mcp, node) = App::builder()
        .handler(Desk::default)
        .build()
        .await
        .expect("the node starts");
    drop((mcp, node));
    until("all tasks have ended", async || {
        tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0
    })
    .await;
}

#[tokio::test]
async fn hosts_are_checked_as_on_loopback_until_they_are_named() {
    for (allowed, status) in [(vec![], 403), (vec!["shop.example".to_owned()], 200)] {
        let mut settings = Settings::default();
        settings.drain.delay = DELAY;
        settings.http.allowed_hosts = allowed;
        let program = Program::start(|builder| builder.settings(settings), Desk::default()).await;
        let client = Client::modern(&program.url()).header("host", "shop.example");
        assert_eq!(client.call("who", json!({})).await.status, status);
        program.stop().await;
    }
}

#[tokio::test]
async fn the_example_serves_beside_its_own_routes_and_ends_on_sigterm() {
    let options = NodeOptions::default();
    let node = Node::start_program(&example("embedded"), &options).await;
    let client = Client::legacy(&format!("{}/agents", node.url()));
    let placed = client.call("place_order", json!({})).await.ok();
    assert!(placed.text().ends_with("has taken 1 orders"), "{}", placed.text());
    assert_eq!(placed.header("x-shop"), Some("orders"));
    let own = get_status(&format!("{}/orders", node.url())).await;
    assert_eq!(own, (200, "1 orders\n".to_owned()));
    node.terminate();
    assert!(node.end().await.success());
}
