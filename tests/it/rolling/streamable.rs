//! Clients of `/mcp`: those with a session take a broken stream up again, those without issue their request
//! again.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::calls::Called;
use super::wire::{Order, Wire, named, next};
use crate::support::client::{Client, MODERN};
use crate::support::sse::EventStream;

/// A stream may break as often as nodes go, which is not more often than this within one call.
const CONNECTIONS_MAX: usize = 20;

/// A client of `/mcp`.
#[derive(Debug)]
pub(super) struct Streamable {
    pub(super) wire: Wire,
    /// Builds messages as the revision has them. It sends none.
    messages: Client,
    revision: &'static str,
    ids: AtomicU64,
}

impl Streamable {
    /// Opens a session, unless the revision has none.
    pub(super) async fn open(wire: Wire, revision: &'static str) -> Result<Self, String> {
        let mut client = Self {
            messages: Client::legacy(wire.base()).revision(revision),
            wire,
            revision,
            ids: AtomicU64::new(1),
        };
        if revision != MODERN {
            client.initialize().await?;
        }
        Ok(client)
    }

    async fn initialize(&mut self) -> Result<(), String> {
        let info = json!({"name": "rolling", "version": "1"});
        let params = json!({"protocolVersion": self.revision, "capabilities": {}, "clientInfo": info});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = self.wire.post("/mcp", &[], &body).await?;
        let session = response.headers().get("mcp-session-id").cloned();
        let session = session.ok_or_else(|| format!("no session: {}", response.status()))?;
        let session = session.to_str().map_err(|error| error.to_string())?;
        self.messages = self.messages.clone().in_session(session);
        let (headers, body) = self
            .messages
            .message("notifications/initialized", json!({}), None)
            .await;
        let accepted = self.wire.post("/mcp", &headers, &body).await?;
        match accepted.status().as_u16() {
            202 => Ok(()),
            other => Err(format!("initialized: {other}")),
        }
    }

    fn is_modern(&self) -> bool {
        self.revision == MODERN
    }

    /// `tools/call` with these parameters.
    pub(super) async fn call(&self, params: Value) -> Result<Called, String> {
        self.request("tools/call", params).await
    }

    /// Sends a request and follows its answer, over as many connections as it takes.
    pub(super) async fn request(&self, method: &str, params: Value) -> Result<Called, String> {
        for _ in 0..CONNECTIONS_MAX {
            let (id, response) = self.send(method, params.clone()).await?;
            let mut called = Called {
                nodes: vec![named(response.headers())],
                ..Called::default()
            };
            let followed = self.follow(&id, response, &mut called).await;
            let followed = followed.map_err(|error| format!("{error} (by {:?})", called.nodes))?;
            if followed == Followed::Answered {
                self.wire.ledger.count(|seen| seen.calls += 1);
                return Ok(called);
            }
            self.wire.ledger.count(|seen| seen.reissued += 1);
        }
        Err(format!("{CONNECTIONS_MAX} streams were closed before the answer"))
    }

    /// Sends a request; returns its id.
    pub(super) async fn send(
        &self,
        method: &str,
        params: Value,
    ) -> Result<(Value, reqwest::Response), String> {
        let id = json!(self.ids.fetch_add(1, Ordering::Relaxed));
        let (headers, body) = self.messages.message(method, params, Some(id.clone())).await;
        let response = self.wire.post("/mcp", &headers, &body).await?;
        if response.status() == 200 {
            return Ok((id, response));
        }
        let node = named(response.headers());
        let (status, body) = (response.status(), response.text().await.unwrap_or_default());
        Err(format!("refused by {node}: {status} {body}"))
    }

    /// Answers a ping, as everybody must.
    async fn pong(&self, id: &Value) -> Result<(), String> {
        let headers = self.messages.session_headers().await;
        let body = json!({"jsonrpc": "2.0", "id": id, "result": {}});
        let response = self.wire.post("/mcp", &headers, &body).await?;
        match response.status().as_u16() {
            202 => Ok(()),
            other => Err(format!("the answer to a ping: {other}")),
        }
    }

    /// `GET /mcp`: the standing stream, or another one after that event.
    pub(super) async fn listen(&self, last_id: Option<&str>) -> Result<EventStream, String> {
        let mut headers = self.messages.session_headers().await;
        headers.extend(last_id.map(|id| ("last-event-id".to_owned(), id.to_owned())));
        self.wire.get("/mcp", &headers).await
    }

    async fn follow(
        &self,
        id: &Value,
        response: reqwest::Response,
        called: &mut Called,
    ) -> Result<Followed, String> {
        let kind = response.headers().get("content-type");
        if kind.is_some_and(|kind| kind == "application/json") {
            called.response = response
                .json()
                .await
                .map_err(|error| format!("an answer that broke off: {error}"))?;
            return match called.response["id"] == *id {
                true => Ok(Followed::Answered),
                false => Err(format!("the answer to another request: {}", called.response)),
            };
        }
        let (mut order, mut stream) = (Order::default(), EventStream::new(response));
        for _ in 0..CONNECTIONS_MAX {
            self.read(id, &mut stream, &mut order, called).await?;
            if !called.response.is_null() {
                return Ok(Followed::Answered);
            }
            if self.is_modern() {
                return Ok(Followed::Closed);
            }
            let last_id = order
                .last_id
                .as_deref()
                .ok_or("the stream was closed with neither an answer nor an id to resume after")?;
            sleep(order.retry()).await;
            stream = self
                .listen(Some(last_id))
                .await
                .map_err(|error| format!("resuming after {last_id}: {error}"))?;
            called.nodes.push(named(stream.headers()));
            self.wire.ledger.count(|seen| seen.resumed += 1);
        }
        Err(format!(
            "{CONNECTIONS_MAX} connections were closed before the answer"
        ))
    }

    /// Reads one connection to its end.
    async fn read(
        &self,
        id: &Value,
        stream: &mut EventStream,
        order: &mut Order,
        called: &mut Called,
    ) -> Result<(), String> {
        while let Some(event) = next(stream).await? {
            let message = if self.is_modern() {
                event.message()
            } else {
                order.take(&event)?
            };
            let Some(message) = message else { continue };
            self.wire.ledger.count(|seen| seen.events += 1);
            if !called.response.is_null() {
                return Err(format!("{message} came after the answer {}", called.response));
            }
            match message.get("method") {
                Some(method) if method == "ping" => self.pong(&message["id"]).await?,
                Some(_) => called.told.push(message),
                None if message["id"] == *id => called.response = message,
                None => return Err(format!("the answer to another request: {message}")),
            }
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Followed {
    Answered,
    /// 2026-07-28: the stream was closed, and nothing can be taken up again.
    Closed,
}
