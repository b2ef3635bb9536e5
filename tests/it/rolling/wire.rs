//! Requests as the protocol and HTTP let a client send them, and streams read as they promise to be.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::ledger::Ledger;
use crate::support::balancer::SERVED_BY;
use crate::support::http::http_client;
use crate::support::sse::{Event, EventStream};

/// How long the head of an answer, or the next event of a stream that is not silent, may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a request is sent again that nobody takes.
const RETRY_PATIENCE: Duration = Duration::from_secs(15);
/// How soon after a refused connection.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// How soon a stream is opened again when the server has not said (SSE leaves it to the client).
const RECONNECT_AFTER: Duration = Duration::from_millis(100);
/// Shorter than HAProxy keeps an idle connection, so that it never closes one under a request.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// One client's connections to the balancer.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    http: reqwest::Client,
    base: String,
    pub(super) ledger: Arc<Ledger>,
}

impl Wire {
    pub(super) fn new(base: &str, ledger: &Arc<Ledger>) -> Self {
        let http = http_client().pool_idle_timeout(IDLE_MAX);
        Self {
            http: http.build().expect("a client"),
            base: base.into(),
            ledger: Arc::clone(ledger),
        }
    }

    /// The balancer.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Posts a message.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: &Value,
    ) -> Result<reqwest::Response, String> {
        self.send(|| {
            let request = self.http.post(format!("{}{path}", self.base));
            let request = request.header("accept", "application/json, text/event-stream");
            with(request, headers).json(body)
        })
        .await
    }

    /// Opens a stream.
    pub(super) async fn get(&self, path: &str, headers: &[(String, String)]) -> Result<EventStream, String> {
        let response = self
            .send(|| {
                let request = self.http.get(format!("{}{path}", self.base));
                with(request.header("accept", "text/event-stream"), headers)
            })
            .await?;
        if response.status() == 200 {
            return Ok(EventStream::new(response));
        }
        let node = named(response.headers());
        let (status, body) = (response.status(), response.text().await.unwrap_or_default());
        Err(format!("{node} refused to open a stream: {status} {body}"))
    }

    /// Sends a request until a node takes it. Only what certainly nobody has looked at is sent again: a
    /// refused connection, and 503 with `Retry-After`. A connection that breaks without an answer is a lost
    /// request.
    async fn send(&self, request: impl Fn() -> reqwest::RequestBuilder) -> Result<reqwest::Response, String> {
        let until = Instant::now() + RETRY_PATIENCE;
        loop {
            let pause = match timeout(ANSWER_PATIENCE, request().send()).await {
                Err(_elapsed) => return Err(format!("no answer within {ANSWER_PATIENCE:?}")),
                Ok(Err(error)) if error.is_connect() => RETRY_AFTER,
                Ok(Err(error)) => return Err(format!("the connection broke without an answer: {error:?}")),
                Ok(Ok(response)) => match retry_after(&response) {
                    Some(pause) => pause,
                    None => return Ok(response),
                },
            };
            if Instant::now() > until {
                return Err(format!("refused for {RETRY_PATIENCE:?}"));
            }
            self.ledger.count(|seen| seen.retried += 1);
            sleep(pause).await;
        }
    }
}

fn with(mut request: reqwest::RequestBuilder, headers: &[(String, String)]) -> reqwest::RequestBuilder {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response
        .headers()
        .get("retry-after")?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    (response.status() == 503).then(|| Duration::from_secs(seconds))
}

/// Which node answered, as the balancer says.
pub(super) fn named(headers: &HeaderMap) -> String {
    let name = headers.get(SERVED_BY);
    let name = name.and_then(|name| name.to_str().ok());
    name.unwrap_or("no node (HAProxy itself)").to_owned()
}

/// The next event; `None` when the stream is closed.
pub(super) async fn next(stream: &mut EventStream) -> Result<Option<Event>, String> {
    let event = stream.next_within(ANSWER_PATIENCE).await;
    event.ok_or_else(|| format!("a stream that was silent for {ANSWER_PATIENCE:?}"))
}

/// The order of one stream's events, over all connections that carried it: each comes once, none is missing.
#[derive(Debug, Default)]
pub(super) struct Order {
    stream: Option<String>,
    number: u64,
    /// What to send as `Last-Event-ID`.
    pub(super) last_id: Option<String>,
    retry: Option<Duration>,
}

impl Order {
    /// Takes the next event, and returns its message if it has one.
    pub(super) fn take(&mut self, event: &Event) -> Result<Option<Value>, String> {
        self.retry = event.retry.map(Duration::from_millis).or(self.retry);
        let message = event.message();
        let Some(id) = &event.id else {
            return match message {
                None => Ok(None),
                Some(message) => Err(format!("an event without an id: {message}")),
            };
        };
        let parts = id.rsplit_once('-');
        let (stream, number) = parts.ok_or_else(|| format!("an id that is none of ours: {id}"))?;
        let number: u64 = number
            .parse()
            .map_err(|error| format!("an id without a number: {id}: {error}"))?;
        let before = self.stream.get_or_insert_with(|| stream.to_owned());
        if before != stream {
            return Err(format!(
                "an event of another stream: {id} after {:?}",
                self.last_id
            ));
        }
        // A priming event repeats how far the stream is.
        let expected = self.number + u64::from(message.is_some());
        if number != expected {
            return Err(format!("event {number} where {expected} was expected: {event:?}"));
        }
        self.number = number;
        self.last_id = Some(id.clone());
        Ok(message)
    }

    /// Takes an event that is no message: what it says of reconnecting.
    pub(super) fn told(&mut self, event: &Event) -> Result<Option<Value>, String> {
        self.retry = event.retry.map(Duration::from_millis).or(self.retry);
        Ok(None)
    }

    /// How long to wait before the stream is taken up again.
    pub(super) fn retry(&self) -> Duration {
        self.retry.unwrap_or(RECONNECT_AFTER)
    }
}
