//! A small MCP client that shows status, headers and every message of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use super::process::{PATIENCE, eventually};
use super::sse::{EventStream, Parser};
use crate::support::http::http_client;

/// The newest revision that opens sessions.
pub(crate) const LEGACY: &str = "2025-11-25";
/// The revision without sessions.
pub(crate) const MODERN: &str = "2026-07-28";

const BOTH: &str = "application/json, text/event-stream";

/// A client of one or several URLs, which it uses strictly in turn. A legacy client opens its session before
/// its first request. Clones share the session, the turn and the numbering of requests.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    urls: Vec<String>,
    turn: Arc<AtomicUsize>,
    id: Arc<AtomicU64>,
    session: Arc<OnceCell<String>>,
    revision: String,
    capabilities: Value,
    headers: Vec<(String, String)>,
}

/// `POST /mcp` as it is on the wire, for a connection of one's own.
pub(crate) fn on_the_wire(headers: &[(String, String)], body: &str) -> String {
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: {BOTH}\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    format!("{head}\r\n{body}")
}

impl Client {
    /// A legacy client of one server, such as `http://127.0.0.1:3000`.
    pub(crate) fn legacy(url: &str) -> Self {
        Self::round_robin(&[url.into()])
    }

    /// A legacy client of several servers, which it asks strictly in turn.
    pub(crate) fn round_robin(urls: &[String]) -> Self {
        Self {
            http: http_client().build().expect("a client"),
            urls: urls.to_vec(),
            turn: Arc::default(),
            id: Arc::default(),
            session: Arc::default(),
            revision: LEGACY.into(),
            capabilities: json!({}),
            headers: Vec::new(),
        }
    }

    /// The same from another address of this machine.
    #[must_use]
    pub(crate) fn from(mut self, address: std::net::IpAddr) -> Self {
        let http = http_client().local_address(address);
        self.http = http.build().expect("a client");
        self
    }

    /// The same with another HTTP client, which may speak TLS.
    #[must_use]
    pub(crate) fn over(mut self, http: reqwest::Client) -> Self {
        self.http = http;
        self
    }

    /// A modern client of one server.
    pub(crate) fn modern(url: &str) -> Self {
        Self::legacy(url).into_modern()
    }

    /// The same as a modern client, without a session.
    #[must_use]
    pub(crate) fn into_modern(self) -> Self {
        self.revision(MODERN)
    }

    /// The same with another protocol revision, and without the session.
    #[must_use]
    pub(crate) fn revision(mut self, revision: &str) -> Self {
        self.revision = revision.into();
        self.session = Arc::default();
        self
    }

    /// The same with these client capabilities, and without the session.
    #[must_use]
    pub(crate) fn capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self.session = Arc::default();
        self
    }

    /// The same with one more header on every request.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same client, with the same session, but only ever of this server.
    #[must_use]
    pub(crate) fn at(&self, url: &str) -> Self {
        Self {
            urls: vec![url.into()],
            turn: Arc::default(),
            ..self.clone()
        }
    }

    /// The same client with this session id, which another client may have opened.
    #[must_use]
    pub(crate) fn in_session(mut self, id: &str) -> Self {
        self.session = Arc::new(OnceCell::new_with(Some(id.into())));
        self
    }

    /// The first of its servers.
    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }

    /// The session's id; opens it when it is not open yet.
    pub(crate) async fn session(&self) -> &str {
        self.session
            .get_or_init(|| async {
                let answer = self.initialize().await.ok();
                let id = answer.header("mcp-session-id").expect("a session id").to_owned();
                let accepted = self
                    .clone()
                    .in_session(&id)
                    .notify("notifications/initialized", json!({}))
                    .await;
                assert_eq!(accepted.status, 202, "initialized: {accepted:?}");
                id
            })
            .await
    }

    /// Sends `initialize` and nothing else. The answer's `mcp-session-id` is not kept.
    pub(crate) async fn initialize(&self) -> Answer {
        let body = json!({
            "jsonrpc": "2.0", "id": self.next_id(), "method": "initialize",
            "params": {
                "protocolVersion": self.revision,
                "capabilities": self.capabilities,
                "clientInfo": client_info(),
            },
        });
        self.post(&[], &body.to_string()).await
    }

    /// Its first request: `initialize`, or `tools/list` if it has a session or needs none.
    pub(crate) async fn first(&self) -> Answer {
        match self.revision == MODERN || self.session.initialized() {
            true => self.list().await,
            false => self.initialize().await,
        }
    }

    /// `tools/call`
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Opens a notebook; its handle.
    pub(crate) async fn open_notebook(&self) -> String {
        let opened = self.call("open_notebook", json!({})).await.ok();
        let handle = opened.structured()["notebook"].as_str();
        handle.expect("a handle").to_owned()
    }

    /// `tools/list`
    pub(crate) async fn list(&self) -> Answer {
        self.request("tools/list", json!({})).await
    }

    /// `resources/read`
    pub(crate) async fn read(&self, uri: &str) -> Answer {
        self.request("resources/read", json!({"uri": uri})).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Answer {
        let (headers, body) = self.message(method, params, Some(json!(self.next_id()))).await;
        Answer::read(self.send_post(&headers, body.to_string()).await).await
    }

    /// Sends a notification.
    pub(crate) async fn notify(&self, method: &str, params: Value) -> Answer {
        let (headers, body) = self.message(method, params, None).await;
        Answer::read(self.send_post(&headers, body.to_string()).await).await
    }

    /// Answers a request of the server's.
    pub(crate) async fn respond(&self, id: &Value, result: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": id, "result": result});
        self.post(&self.session_headers().await, &body.to_string()).await
    }

    /// Sends a request whose answer is a stream, and returns its id and the stream as soon as the headers
    /// came.
    pub(crate) async fn stream(&self, method: &str, params: Value) -> (Value, EventStream) {
        let id = json!(self.next_id());
        let (headers, body) = self.message(method, params, Some(id.clone())).await;
        let response = self.send_post(&headers, body.to_string()).await;
        (id, EventStream::new(response))
    }

    /// Opens the session's standalone stream, or resumes a stream after `last_event_id`.
    pub(crate) async fn listen(&self, last_event_id: Option<&str>) -> EventStream {
        EventStream::new(self.get(last_event_id).await)
    }

    /// `GET /mcp` as [`Self::listen`] sends it, with any answer.
    pub(crate) async fn get(&self, last_event_id: Option<&str>) -> reqwest::Response {
        let mut headers = self.session_headers().await;
        headers.push(("accept".into(), "text/event-stream".into()));
        headers.extend(last_event_id.map(|id| ("last-event-id".into(), id.into())));
        self.send(reqwest::Method::GET, &headers, None).await
    }

    /// Resumes as the protocol says until a stream is had: nodes and balancers take a moment to notice.
    pub(crate) async fn resume(&self, last_event_id: &str) -> EventStream {
        eventually("a node takes the stream up", || async {
            let response = self.get(Some(last_event_id)).await;
            (response.status() == 200).then(|| EventStream::new(response))
        })
        .await
    }

    /// Ends the session.
    pub(crate) async fn delete(&self) -> Answer {
        let headers = self.session_headers().await;
        Answer::read(self.send(reqwest::Method::DELETE, &headers, None).await).await
    }

    /// Sends these bytes with these headers (and `Content-Type`, `Accept` unless they are among them).
    pub(crate) async fn post(&self, headers: &[(String, String)], body: &str) -> Answer {
        Answer::read(self.send_post(headers, body.to_owned()).await).await
    }

    /// Sends a body that is answered by a stream.
    pub(crate) async fn open(&self, headers: &[(String, String)], body: &Value) -> EventStream {
        EventStream::new(self.send_post(headers, body.to_string()).await)
    }

    /// The headers of a request in this session: none for a modern client.
    pub(crate) async fn session_headers(&self) -> Vec<(String, String)> {
        if self.revision == MODERN {
            return vec![];
        }
        let session = self.session().await;
        vec![
            ("mcp-session-id".into(), session.into()),
            ("mcp-protocol-version".into(), self.revision.clone()),
        ]
    }

    /// The headers and the body of a message, as this client's revision has them.
    pub(crate) async fn message(
        &self,
        method: &str,
        mut params: Value,
        id: Option<Value>,
    ) -> (Vec<(String, String)>, Value) {
        let headers = if self.revision == MODERN {
            let meta = params["_meta"].take();
            params["_meta"] = self.modern_meta(meta);
            modern_headers(method, &params)
        } else {
            Box::pin(self.session_headers()).await
        };
        let mut body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if let Some(id) = id {
            body["id"] = id;
        }
        (headers, body)
    }

    /// What a modern request says of its client, besides what `meta` has already.
    fn modern_meta(&self, meta: Value) -> Value {
        let mut all = Map::from_iter([
            (
                "io.modelcontextprotocol/protocolVersion".into(),
                json!(self.revision),
            ),
            ("io.modelcontextprotocol/clientInfo".into(), client_info()),
            (
                "io.modelcontextprotocol/clientCapabilities".into(),
                self.capabilities.clone(),
            ),
        ]);
        if let Value::Object(given) = meta {
            all.extend(given);
        }
        all.into()
    }

    async fn send_post(&self, headers: &[(String, String)], body: String) -> reqwest::Response {
        let mut all = headers.to_vec();
        for (name, value) in [("content-type", "application/json"), ("accept", BOTH)] {
            if !all.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                all.push((name.into(), value.into()));
            }
        }
        self.send(reqwest::Method::POST, &all, Some(body)).await
    }

    async fn send(
        &self,
        method: reqwest::Method,
        headers: &[(String, String)],
        body: Option<String>,
    ) -> reqwest::Response {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/mcp", self.urls[turn % self.urls.len()]);
        let mut request = self.http.request(method, &url);
        for (name, value) in headers.iter().chain(&self.headers) {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let sent = tokio::time::timeout(PATIENCE, request.send()).await;
        sent.unwrap_or_else(|_| panic!("{url} did not answer within {PATIENCE:?}"))
            .unwrap_or_else(|error| panic!("{url} could not be asked: {error:?}"))
    }

    fn next_id(&self) -> u64 {
        self.id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn client_info() -> Value {
    json!({"name": "anynode-tests", "version": "1.0.0"})
}

/// The headers that a modern request repeats from its body (SEP-2243).
fn modern_headers(method: &str, params: &Value) -> Vec<(String, String)> {
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let mut headers = vec![
        (
            "mcp-protocol-version".into(),
            version.as_str().unwrap_or(MODERN).to_owned(),
        ),
        ("mcp-method".into(), method.into()),
    ];
    headers.extend(name.map(|name| ("mcp-name".into(), name.to_owned())));
    headers
}

/// The whole answer to one HTTP request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as it came.
    pub(crate) body: String,
    /// Every JSON-RPC message in it, from JSON or from events.
    pub(crate) messages: Vec<Value>,
}

impl Answer {
    /// Reads an answer to its end; fails the test when that takes longer than [`PATIENCE`].
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = tokio::time::timeout(PATIENCE, response.text()).await;
        let body = body
            .unwrap_or_else(|_| panic!("the answer ({status}) had no end within {PATIENCE:?}"))
            .unwrap_or_else(|error| panic!("the answer ({status}) broke off: {error}"));
        let kind = headers
            .get("content-type")
            .map_or("", |kind| kind.to_str().unwrap_or_default());
        let messages = if kind.starts_with("text/event-stream") {
            let events = Parser::default().push(body.as_bytes());
            events.iter().filter_map(super::sse::Event::message).collect()
        } else {
            serde_json::from_str(&body).map_or_else(|_| vec![], |message| vec![message])
        };
        Self {
            status,
            headers,
            body,
            messages,
        }
    }

    /// One header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The message that answers: the one with a result or an error.
    pub(crate) fn response(&self) -> &Value {
        let mut responses = self
            .messages
            .iter()
            .filter(|message| message.get("method").is_none());
        responses
            .next_back()
            .unwrap_or_else(|| panic!("no response in {self:?}"))
    }

    /// The result; fails the test when there is none.
    pub(crate) fn result(&self) -> &Value {
        self.response()
            .get("result")
            .unwrap_or_else(|| panic!("expected a result, got {} {}", self.status, self.body))
    }

    /// The JSON-RPC error; fails the test when there is none.
    pub(crate) fn error(&self) -> &Value {
        self.response()
            .get("error")
            .unwrap_or_else(|| panic!("expected an error, got {} {}", self.status, self.body))
    }

    /// The code of the JSON-RPC error.
    pub(crate) fn code(&self) -> i64 {
        self.error()["code"].as_i64().expect("an error has a code")
    }

    /// Passes it on when it is a 200 with a result that is not `isError`; fails the test otherwise.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_ne!(self.result()["isError"], true, "{}", self.body);
        self
    }

    /// The text of a tool's result, its first content.
    pub(crate) fn text(&self) -> &str {
        let text = self.result()["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("expected a text, got {}", self.body))
    }

    /// The structured content of a tool's result.
    pub(crate) fn structured(&self) -> &Value {
        &self.result()["structuredContent"]
    }
}
