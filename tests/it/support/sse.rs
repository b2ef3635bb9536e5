//! Reading server-sent events as they come.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::process::PATIENCE;

/// One event. Comments are counted, not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// `id:`
    pub(crate) id: Option<String>,
    /// `event:`
    pub(crate) event: Option<String>,
    /// `retry:`, in milliseconds
    pub(crate) retry: Option<u64>,
    /// The `data:` lines, joined by line ends; `None` when there was no such line.
    pub(crate) data: Option<String>,
}

impl Event {
    /// The JSON in it; `None` when the data is empty, as that of a priming event is.
    pub(crate) fn message(&self) -> Option<Value> {
        let data = self.data.as_deref().filter(|data| !data.is_empty())?;
        let message = serde_json::from_str(data);
        Some(message.unwrap_or_else(|error| panic!("an event that is not JSON: {error}: {data}")))
    }
}

/// Turns bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    event: Event,
    begun: bool,
    /// How many comments came, such as heartbeats.
    pub(crate) comments: usize,
}

impl Parser {
    /// Takes the next bytes; returns the events that are complete now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8(line).expect("a stream of events is UTF-8");
            events.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.begun).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        self.begun |= !field.is_empty();
        match field {
            "" => self.comments += 1,
            "id" => self.event.id = Some(value.into()),
            "event" => self.event.event = Some(value.into()),
            "retry" => self.event.retry = Some(value.parse().expect("retry is a number")),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.into()),
            },
            _ => panic!("an event field that MCP does not use: {line}"),
        }
        None
    }
}

/// An open stream of events. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct EventStream {
    response: reqwest::Response,
    parser: Parser,
    ready: VecDeque<Event>,
    last_id: Option<String>,
}

impl EventStream {
    /// Reads the body of this answer, which must be a stream of events.
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let kind = response.headers().get("content-type");
        let kind = kind.map_or("", |value| value.to_str().unwrap_or_default());
        assert!(
            kind.starts_with("text/event-stream"),
            "expected a stream of events, got {} {kind}",
            response.status(),
        );
        Self {
            response,
            parser: Parser::default(),
            ready: VecDeque::new(),
            last_id: None,
        }
    }

    /// The answer's headers.
    pub(crate) fn headers(&self) -> &reqwest::header::HeaderMap {
        self.response.headers()
    }

    /// The id of the last event that had one: what `Last-Event-ID` is.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How many comments came so far.
    pub(crate) const fn comments(&self) -> usize {
        self.parser.comments
    }

    /// The next event; `None` when the stream has ended, however it ended. Fails the test after [`PATIENCE`].
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let within = self.next_within(PATIENCE).await;
        within.unwrap_or_else(|| panic!("no event within {PATIENCE:?}"))
    }

    /// The next event as in [`Self::next`], inside `Some`; `None` when nothing came for so long.
    pub(crate) async fn next_within(&mut self, patience: Duration) -> Option<Option<Event>> {
        let deadline = Instant::now() + patience;
        while self.ready.is_empty() {
            match timeout_at(deadline, self.response.chunk()).await {
                Err(_) => return None,
                Ok(Ok(Some(bytes))) => self.ready.extend(self.parser.push(&bytes)),
                Ok(Ok(None) | Err(_)) => return Some(None),
            }
        }
        let event = self.ready.pop_front();
        if let Some(id) = event.as_ref().and_then(|event| event.id.clone()) {
            self.last_id = Some(id);
        }
        Some(event)
    }

    /// The next JSON-RPC message, skipping events without one; `None` when the stream has ended.
    pub(crate) async fn next_message(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.next().await?.message() {
                return Some(message);
            }
        }
    }

    /// Reads on to the first message that `wanted` accepts; fails the test when the stream ends before.
    pub(crate) async fn message_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut others = Vec::new();
        while let Some(message) = self.next_message().await {
            if wanted(&message) {
                return message;
            }
            others.push(message);
        }
        panic!("the stream ended without the message that was waited for; it had: {others:?}");
    }

    /// Reads on to the answer to request `id`.
    pub(crate) async fn answer_to(&mut self, id: &Value) -> Value {
        self.message_where(|message| message.get("method").is_none() && message.get("id") == Some(id))
            .await
    }

    /// Reads to the end, which comes without an answer: of a call that was cancelled.
    pub(crate) async fn ends_unanswered(&mut self) {
        while let Some(message) = self.next_message().await {
            let answers = message.get("method").is_none();
            assert!(!answers, "an answer after the cancellation: {message}");
        }
    }

    /// Where to post, which the first event of HTTP+SSE says.
    pub(crate) async fn endpoint(&mut self) -> String {
        let first = self.next().await;
        first.and_then(|event| event.data).expect("an endpoint")
    }

    /// Reads on to the notification or server request `method`.
    pub(crate) async fn method(&mut self, method: &str) -> Value {
        self.message_where(|message| message.get("method").is_some_and(|found| found == method))
            .await
    }
}
