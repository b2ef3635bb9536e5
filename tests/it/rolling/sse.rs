//! Clients of 2024-11-05: one stream for everything, opened again with `?sessionId=` when it breaks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::calls::Called;
use super::wire::{Order, Wire, named, next};
use crate::support::sse::EventStream;

const REVISION: &str = "2024-11-05";
/// How long a call may take in all, its node lost and found again.
const CALL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a message is refused with 410 at most: the stream is opened again meanwhile.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Changes that nobody has looked at yet.
const CHANGES_MAX: usize = 64;

/// Whether the client says which event it has seen when it opens its stream again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// With `Last-Event-ID`, as browsers do.
    AfterTheLastEvent,
    /// Without: the server knows what it has delivered.
    WhereTheServerKnows,
}

/// A client of `/sse`.
#[derive(Debug)]
pub(super) struct Sse {
    pub(super) wire: Wire,
    name: String,
    resume: Resume,
    endpoint: String,
    ids: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    changes: mpsc::Sender<()>,
}

/// A call without an answer so far.
#[derive(Debug)]
struct Waiting {
    called: Called,
    answer: oneshot::Sender<Called>,
}

impl Sse {
    /// Opens a session with its stream, and introduces itself. The stream is read in a task of its own, which
    /// ends with the test. What comes out of the second are notifications of changed resources.
    pub(super) async fn open(
        wire: Wire,
        name: &str,
        resume: Resume,
    ) -> Result<(Arc<Self>, mpsc::Receiver<()>), String> {
        let mut stream = wire.get("/sse", &[]).await?;
        let endpoint = next(&mut stream).await?.and_then(|event| event.data);
        let (changes, changed) = mpsc::channel(CHANGES_MAX);
        let client = Arc::new(Self {
            wire,
            name: name.into(),
            resume,
            endpoint: format!("/{}", endpoint.ok_or("no endpoint event")?),
            ids: AtomicU64::new(1),
            waiting: Mutex::default(),
            changes,
        });
        let reader = Arc::clone(&client);
        tokio::spawn(async move {
            let mut order = Order::default();
            let mut opened = Ok(stream);
            loop {
                let read = match opened {
                    Ok(stream) => reader.read(stream, &mut order).await,
                    Err(error) => Err(format!("the stream cannot be opened again: {error}")),
                };
                if let Err(error) = read {
                    reader.fail(&error);
                }
                sleep(order.retry()).await;
                opened = reader.reopen(&order).await;
            }
        });
        let info = json!({"name": "rolling", "version": "1"});
        let params = json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": info});
        client.request("initialize", params).await?;
        client
            .post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await?;
        Ok((client, changed))
    }

    /// `tools/call` with these parameters; the call's id is its progress token.
    pub(super) async fn call(&self, params: Value) -> Result<Called, String> {
        self.request("tools/call", params).await
    }

    /// Sends a request, and waits for its answer on the stream.
    pub(super) async fn request(&self, method: &str, mut params: Value) -> Result<Called, String> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let called = Called::default();
        self.lock().insert(id, Waiting { called, answer });
        if params["_meta"]["progressToken"].is_string() {
            params["_meta"]["progressToken"] = json!(id.to_string());
        }
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let node = self.post(&message).await?;
        let answered = timeout(CALL_PATIENCE, answered).await;
        let Ok(Ok(mut called)) = answered else {
            return Err(format!(
                "{node} took the call, no answer within {CALL_PATIENCE:?}"
            ));
        };
        called.nodes.push(node);
        self.wire.ledger.count(|seen| seen.calls += 1);
        Ok(called)
    }

    /// Posts a message; returns the node that took it. 410 says that it was not taken, because the stream is
    /// lost: it is sent again when the stream is back.
    async fn post(&self, message: &Value) -> Result<String, String> {
        let until = Instant::now() + STREAM_PATIENCE;
        loop {
            let response = self.wire.post(&self.endpoint, &[], message).await?;
            let node = named(response.headers());
            match response.status().as_u16() {
                202 => return Ok(node),
                410 if Instant::now() < until => {
                    self.wire.ledger.count(|seen| seen.retried += 1);
                    sleep(AGAIN_AFTER).await;
                }
                other => return Err(format!("refused by {node}: {other}")),
            }
        }
    }

    async fn reopen(&self, order: &Order) -> Result<EventStream, String> {
        let path = self.endpoint.replace("/messages", "/sse");
        let last_id = order
            .last_id
            .iter()
            .filter(|_| self.resume == Resume::AfterTheLastEvent);
        let headers: Vec<_> = last_id
            .map(|id| ("last-event-id".to_owned(), id.clone()))
            .collect();
        let stream = self.wire.get(&path, &headers).await?;
        self.wire.ledger.count(|seen| seen.reopened += 1);
        Ok(stream)
    }

    /// Reads one connection to its end.
    async fn read(&self, mut stream: EventStream, order: &mut Order) -> Result<(), String> {
        let node = named(stream.headers());
        loop {
            let taken = match next(&mut stream).await {
                Ok(None) => return Ok(()),
                Ok(Some(event)) if event.event.as_deref() == Some("endpoint") => order.told(&event),
                Ok(Some(event)) => order.take(&event),
                Err(error) => Err(error),
            };
            let heard = taken.and_then(|message| message.map_or(Ok(()), |message| self.hear(message)));
            heard.map_err(|error| format!("on the stream of {node}: {error}"))?;
        }
    }

    fn hear(&self, message: Value) -> Result<(), String> {
        self.wire.ledger.count(|seen| seen.events += 1);
        let mut waiting = self.lock();
        match message["method"].as_str() {
            None => {
                let id = message["id"].as_u64().unwrap_or_default();
                let Some(Waiting { mut called, answer }) = waiting.remove(&id) else {
                    return Err(format!("an answer that nobody waits for, or twice: {message}"));
                };
                called.response = message;
                drop(answer.send(called));
            }
            Some("notifications/progress") => {
                let token = message["params"]["progressToken"].as_str();
                let id = token.and_then(|token| token.parse().ok()).unwrap_or_default();
                let Some(waiting) = waiting.get_mut(&id) else {
                    return Err(format!("progress of a call that is over: {message}"));
                };
                waiting.called.told.push(message);
            }
            Some("notifications/resources/updated") => drop(self.changes.try_send(())),
            // Log messages do not say whose they are.
            Some(_) => {}
        }
        Ok(())
    }

    fn fail(&self, what: &str) {
        self.wire.ledger.fail(format!("{}: {what}", self.name));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting
            .lock()
            .expect("nobody panics while holding the calls")
    }
}
