//! The transport of 2024-11-05: `GET /sse` and `POST /messages`, on any node.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::process::{eventually, within};
use crate::support::sse::{Event, EventStream};

mod clients;
mod everything;
mod lives;
mod reconnect;

const REVISION: &str = "2024-11-05";

/// A client that posts each message to the next node, strictly in turn.
struct Client {
    http: reqwest::Client,
    urls: Vec<String>,
    turn: usize,
    /// Where to post, as the server said.
    endpoint: String,
    stream: EventStream,
    next_id: u64,
}

fn http() -> reqwest::Client {
    http_client().build().expect("a client")
}

async fn get(url: &str, last_event_id: Option<&str>) -> reqwest::Response {
    let mut request = http().get(url).header("accept", "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    request.send().await.expect("the node answers")
}

/// A new stream, and where it says to post.
async fn open(url: &str, last_event_id: Option<&str>) -> (EventStream, String) {
    let mut stream = EventStream::new(get(url, last_event_id).await);
    let first = stream.next().await.expect("an event");
    assert_eq!(first.event.as_deref(), Some("endpoint"));
    assert_eq!(first.id, None, "the first event is no message");
    (stream, first.data.expect("where to post"))
}

impl Client {
    /// Opens a stream on this node.
    async fn open(cluster: &Cluster, node: usize) -> Self {
        let urls = cluster.urls();
        let (stream, endpoint) = open(&format!("{}/sse", urls[node % urls.len()]), None).await;
        Self {
            http: http(),
            urls,
            turn: node + 1,
            endpoint,
            stream,
            next_id: 0,
        }
    }

    /// The same, and initializes it.
    async fn start(cluster: &Cluster, node: usize, capabilities: Value) -> Self {
        let mut client = Self::open(cluster, node).await;
        let result = client.initialize(capabilities).await;
        assert_eq!(result["result"]["protocolVersion"], REVISION, "{result}");
        client
    }

    async fn initialize(&mut self, capabilities: Value) -> Value {
        let info = json!({"name": "sse-tests", "version": "1"});
        let params = json!({"protocolVersion": REVISION, "capabilities": capabilities, "clientInfo": info});
        let result = self.ask("initialize", params).await;
        assert_eq!(
            self.notify("notifications/initialized", json!({})).await.status,
            202
        );
        result
    }

    fn session(&self) -> &str {
        let query = self.endpoint.strip_prefix("messages?sessionId=");
        query.expect("the session in the query")
    }

    /// Where a stream is opened on this node, counted round and round.
    fn url(&self, node: usize) -> String {
        format!("{}/sse", self.urls[node % self.urls.len()])
    }

    fn reconnect_url(&self, node: usize) -> String {
        format!("{}?sessionId={}", self.url(node), self.session())
    }

    /// Takes the stream up again on this node.
    async fn reconnect(&mut self, node: usize, last_event_id: Option<&str>) {
        let (stream, endpoint) = open(&self.reconnect_url(node), last_event_id).await;
        assert_eq!(endpoint, self.endpoint, "the session stays");
        self.stream = stream;
    }

    /// Leaves its session without a stream: what it has is another session's from now on.
    async fn hang_up(&mut self) {
        let (other, _) = open(&self.url(1), None).await;
        self.stream = other;
    }

    async fn post(&mut self, message: &Value) -> Answer {
        self.turn += 1;
        self.post_to(self.turn, message).await
    }

    async fn post_to(&self, node: usize, message: &Value) -> Answer {
        let url = format!("{}/{}", self.urls[node % self.urls.len()], self.endpoint);
        let sent = self.http.post(url).json(message).send().await;
        Answer::read(sent.expect("the node answers")).await
    }

    async fn notify(&mut self, method: &str, params: Value) -> Answer {
        self.post(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await
    }

    fn message(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params})
    }

    /// Sends a request, and returns its id.
    async fn send(&mut self, method: &str, params: Value) -> Value {
        let message = self.message(method, params);
        let answer = self.post(&message).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        message["id"].clone()
    }

    /// Sends a request, and reads its response.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        self.stream.answer_to(&id).await
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }
}

fn text(response: &Value) -> &str {
    let text = response["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("expected a text, got {response}"))
}

fn countdown(from: u32, interval_ms: u32) -> Value {
    json!({"name": "countdown", "arguments": {"from": from, "interval_ms": interval_ms}, "_meta": {"progressToken": "p"}})
}

fn number(event: &Event) -> u64 {
    let id = event.id.as_deref().expect("an id");
    id.strip_prefix("sse-")
        .expect("sse-<n>")
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn the_endpoint_comes_first_and_messages_are_numbered() {
    for cluster in Cluster::stages().await {
        let mut client = Client::open(&cluster, 0).await;
        assert_eq!(client.stream.headers()["content-type"], "text/event-stream");
        client.initialize(json!({})).await;
        client.send("tools/list", json!({})).await;
        let event = client.stream.next().await.expect("an event");
        assert_eq!(event.event.as_deref(), Some("message"));
        assert_eq!(number(&event), 2, "after the answer to initialize");
    }
}

/// Everything a session is, with no two messages in a row to one node.
#[tokio::test]
async fn a_session_lives_on_three_nodes_in_turn() {
    for cluster in Cluster::stages().await {
        for first in 0..3 {
            let mut client = Client::start(&cluster, first, json!({})).await;
            let tools = client.ask("tools/list", json!({})).await;
            assert!(
                tools["result"]["tools"]
                    .as_array()
                    .is_some_and(|tools| tools.len() > 5)
            );
            let mut nodes = Vec::new();
            for n in 1..=9_u64 {
                let counted = client.call("increment", json!({"key": "n"})).await;
                assert_eq!(counted["result"]["structuredContent"]["value"], n, "{counted}");
                let who = client.call("whoami", json!({})).await;
                let who = &who["result"]["structuredContent"];
                assert_eq!(who["protocolVersion"].as_str().unwrap_or(REVISION), REVISION);
                nodes.push(who["node"].as_str().expect("a node").to_owned());
            }
            nodes.sort();
            nodes.dedup();
            assert_eq!(nodes.len(), cluster.nodes().len(), "{nodes:?}");
            assert_eq!(client.ask("ping", json!({})).await["result"], json!({}));
            let missing = client.ask("no/such", json!({})).await;
            assert_eq!(missing["error"]["code"], -32601);
            let wrong = client.ask("tools/call", json!({"nome": 1})).await;
            assert_eq!(
                wrong["error"]["code"], -32602,
                "an answer like any other: {wrong}"
            );
        }
    }
}

#[tokio::test]
async fn calls_report_progress_and_are_cancelled_through_another_node() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        let id = client.send("tools/call", countdown(5, 5)).await;
        for step in 1..=5 {
            let told = client.stream.method("notifications/progress").await;
            assert_eq!(told["params"]["progress"].as_f64(), Some(f64::from(step)));
        }
        client.stream.answer_to(&id).await;
        let long = client.send("tools/call", countdown(100, 50)).await;
        client.stream.method("notifications/progress").await;
        let cancelled = client
            .notify("notifications/cancelled", json!({"requestId": long}))
            .await;
        assert_eq!(cancelled.status, 202);
        cluster.no_call_is_left().await;
        assert_eq!(
            text(&client.call("echo", json!({"text": "still here"})).await),
            "still here"
        );
    }
}

#[tokio::test]
async fn the_client_answers_through_any_node() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({"elicitation": {}, "sampling": {}})).await;
        for round in 0..9 {
            let question = json!({"name": "ask", "arguments": {"question": format!("round {round}?")}});
            let id = client.send("tools/call", question).await;
            let asked = client.stream.method("elicitation/create").await;
            let words = format!("answer {round}");
            let result = json!({"action": "accept", "content": {"answer": words}});
            let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
            assert_eq!(client.post(&answer).await.status, 202);
            let response = client.stream.answer_to(&id).await;
            assert!(response["result"].to_string().contains(&words), "{response}");

            let sum = json!({"name": "summarize", "arguments": {"text": "a long text"}});
            let id = client.send("tools/call", sum).await;
            let asked = client.stream.method("sampling/createMessage").await;
            let result =
                json!({"role": "assistant", "content": {"type": "text", "text": words}, "model": "m"});
            let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
            assert_eq!(client.post(&answer).await.status, 202);
            let response = client.stream.answer_to(&id).await;
            assert!(response["result"].to_string().contains(&words), "{response}");
        }
    }
}

#[tokio::test]
async fn unknown_sessions_are_404_and_each_transport_keeps_to_its_own() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        let url = cluster.turn(1).url();
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        let streamable = cluster.client();
        let foreign = streamable.session().await.to_owned();
        let key = "0123456789abcdef0123456789abcdef";
        for id in ["nobody", "", "%20", foreign.as_str(), key] {
            let answer = http()
                .post(format!("{url}/messages?sessionId={id}"))
                .json(&ping)
                .send();
            let answer = Answer::read(answer.await.expect("the node answers")).await;
            assert_eq!((answer.status, answer.code()), (404, -32001), "{id}");
            let opened = get(&format!("{url}/sse?sessionId={id}"), None).await;
            assert_eq!(opened.status(), 404, "{id}");
        }
        let there = streamable.in_session(client.session());
        for refused in [there.list().await, there.delete().await] {
            assert_eq!(refused.status, 404, "a session of /sse is not served on /mcp");
        }
        let echoed = client.call("echo", json!({"text": "a"})).await;
        assert!(echoed["result"].is_object(), "and lives on: {echoed}");
        for (method, path) in [("POST", "/sse"), ("DELETE", "/sse"), ("GET", "/messages")] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = http().request(method, format!("{url}{path}")).send().await;
            assert_eq!(answer.expect("the node answers").status(), 405, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_posted_is_checked_like_anything_else() {
    let cluster = Cluster::with(1, &[("MCP_HTTP__BODY_BYTES_MAX", "1KiB")]).await;
    let client = Client::start(&cluster, 0, json!({})).await;
    let url = format!("{}/{}", client.urls[0], client.endpoint);
    let large = format!("\"{}\"", "a".repeat(2000));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (kind, body, status, code) in [
        ("application/json", "{", 400, -32700),
        ("application/json", "{}", 400, -32600),
        ("application/json", &format!("[{ping}]"), 400, -32600),
        ("application/json", &large, 413, -32000),
        ("text/plain", ping, 415, -32000),
    ] {
        let sent = http()
            .post(&url)
            .header("content-type", kind)
            .body(body.to_owned());
        let answer = Answer::read(sent.send().await.expect("the node answers")).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{body}");
    }
    let sent = http().post(&url).header("origin", "http://evil.example.com");
    let answer = sent.json(&json!({})).send().await.expect("the node answers");
    assert_eq!(answer.status(), 403);
    for id in ["get-1", "sse-999", "nonsense"] {
        let answer = get(&client.reconnect_url(0), Some(id)).await;
        assert_eq!(answer.status(), 400, "{id}");
    }
    let json_only = http().get(format!("{}/sse", client.urls[0]));
    let answer = json_only.header("accept", "application/json").send().await;
    assert_eq!(answer.expect("the node answers").status(), 406);
}

#[tokio::test]
async fn a_client_must_introduce_itself_unless_the_settings_say_otherwise() {
    let strict = Cluster::of(2).await;
    let mut client = Client::open(&strict, 0).await;
    assert_eq!(client.ask("ping", json!({})).await["result"], json!({}));
    let refused = client.ask("tools/list", json!({})).await;
    assert_eq!(refused["error"]["code"], -32600);
    assert!(refused["error"]["message"].to_string().contains("initialize"));
    client.initialize(json!({})).await;
    assert!(client.ask("tools/list", json!({})).await["result"].is_object());

    let lenient = Cluster::with(2, &[("MCP_SSE__CONTINUE", "true")]).await;
    let mut client = Client::open(&lenient, 0).await;
    assert_eq!(text(&client.call("echo", json!({"text": "a"})).await), "a");
    // What it says of itself later is known on every node at once.
    client.initialize(json!({"elicitation": {}})).await;
    for _ in 0..4 {
        let question = json!({"name": "ask", "arguments": {"question": "?"}});
        let id = client.send("tools/call", question).await;
        let asked = client.stream.method("elicitation/create").await;
        let result = json!({"action": "decline"});
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
        assert_eq!(client.post(&answer).await.status, 202);
        client.stream.answer_to(&id).await;
    }
}

#[tokio::test]
async fn an_open_stream_keeps_its_session_and_ends_with_it() {
    let cluster = Cluster::with(2, &[("MCP_SESSION__TTL", "2s")]).await;
    let mut client = Client::start(&cluster, 0, json!({})).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(text(&client.call("echo", json!({"text": "a"})).await), "a");
    let id = client.session().to_owned();
    client.hang_up().await;
    eventually("it expires without a stream", || async {
        let left = cluster.redis().keys(&format!("*{id}*")).await;
        left.is_empty().then_some(())
    })
    .await;
    assert_eq!(get(&client.reconnect_url(1), None).await.status(), 404);
}

#[tokio::test]
async fn a_key_of_the_clients_own_opens_one_session_on_any_node() {
    let env = [
        ("MCP_SSE__CLIENT_KEYS", "true"),
        ("MCP_AUTH__TOKENS__ALICE", "alices-long-enough-token"),
        ("MCP_AUTH__TOKENS__BOB", "bobs-long-enough-token"),
    ];
    let cluster = Cluster::with(2, &env).await;
    let key = "aKeyThatNobodyGuesses_0123456789-abcdef";
    let open_as = async |node: usize, key: &str, token: &str| {
        let url = format!("{}/sse?sessionId={key}", cluster.node(node).url());
        let request = http().get(url).header("accept", "text/event-stream");
        request.bearer_auth(token).send().await.expect("the node answers")
    };
    let short = open_as(0, "short", "alices-long-enough-token").await;
    assert_eq!(short.status(), 404, "a key that can be guessed opens nothing");
    for node in [0, 1, 0] {
        let answer = open_as(node, key, "alices-long-enough-token").await;
        let mut stream = EventStream::new(answer);
        let endpoint = stream.endpoint().await;
        assert_eq!(endpoint, format!("messages?sessionId={key}"));
    }
    let thief = open_as(1, key, "bobs-long-enough-token").await;
    assert_eq!(thief.status(), 404, "it is bound to the client that opened it");
    let sessions = cluster.redis().keys("session:*").await;
    assert_eq!(sessions, [format!("session:{key}")]);
}

/// A client that has the key of a session that has expired may open another under it, and the first has no
/// part in that.
#[tokio::test]
async fn a_key_that_is_used_again_by_another_opens_another_session() {
    let env = [
        ("MCP_SSE__CLIENT_KEYS", "true"),
        ("MCP_SSE__CONTINUE", "true"),
        ("MCP_SESSION__TTL", "2s"),
        ("MCP_AUTH__TOKENS__ALICE", "alices-long-enough-token"),
        ("MCP_AUTH__TOKENS__BOB", "bobs-long-enough-token"),
    ];
    let (alice, bob) = ("alices-long-enough-token", "bobs-long-enough-token");
    let cluster = Cluster::with(2, &env).await;
    let key = "aKeyThatNobodyGuesses_0123456789-abcdef";
    let url = |node: usize, path: &str| format!("{}{path}?sessionId={key}", cluster.node(node).url());
    let open_as = async |node: usize, token: &str| {
        let request = http()
            .get(url(node, "/sse"))
            .header("accept", "text/event-stream");
        EventStream::new(request.bearer_auth(token).send().await.expect("the node answers"))
    };
    let post_as = async |node: usize, token: &str, message: &Value| {
        let request = http()
            .post(url(node, "/messages"))
            .bearer_auth(token)
            .json(message);
        request.send().await.expect("the node answers").status().as_u16()
    };
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});

    let alices = open_as(0, alice).await;
    assert_eq!(post_as(0, alice, &ready).await, 202);
    assert_eq!(post_as(0, alice, &ping).await, 202);
    drop(alices);
    eventually("Alice's session has expired", || async {
        let left = cluster.redis().keys("session:*").await;
        left.is_empty().then_some(())
    })
    .await;
    let bobs = open_as(1, bob).await;
    assert_eq!(post_as(1, bob, &ready).await, 202);
    // Node 0 keeps what it knew for 30 s at most, though Alice never stops to use it.
    within(
        Duration::from_secs(45),
        "node 0 knows whose session it is",
        || async {
            let answers = (post_as(0, alice, &ping).await, post_as(0, bob, &ping).await);
            (answers == (404, 202)).then_some(())
        },
    )
    .await;
    drop(bobs);
}
