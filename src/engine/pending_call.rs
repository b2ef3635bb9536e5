//! A call of a session that has begun, and may have to be registered: few calls are.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::RequestId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Engine;
use super::durable_call::{DurableCall, StoredRequest};
use super::incoming::Requester;
use crate::cluster::CachedSession;
use crate::protocol::message::Request;
use crate::store::calls::{CallRecord, REPLAY_BYTES_MAX};
use crate::store::streams::StreamId;
use crate::telemetry::metrics::method_label;

/// What is known of a call from the start.
#[derive(Debug)]
pub(crate) struct PendingCall {
    /// The name that it is given.
    pub name: StreamId,
    /// When it began.
    pub began: Instant,
    /// Notified when the handler closes the connection that carries its reply.
    pub close_connection: Arc<Notify>,
    id: RequestId,
    method: Cow<'static, str>,
    tool: Option<String>,
    body: Bytes,
    requester: Option<Requester>,
}

impl PendingCall {
    /// A call of `request` that began at `began`. [`repeatable`](Self::repeatable) adds its body and its
    /// tool.
    pub(crate) fn new(began: Instant, request: &Request<'_>) -> Self {
        let label = method_label(&request.method);
        Self {
            name: StreamId::generate(),
            began,
            close_connection: Arc::default(),
            id: request.id.clone(),
            method: match label == request.method {
                true => Cow::Borrowed(label),
                false => Cow::Owned(request.method.to_string()),
            },
            tool: None,
            body: Bytes::new(),
            requester: None,
        }
    }

    /// The same with what another node needs to run it again.
    #[must_use]
    pub(crate) fn repeatable(self, body: Bytes, requester: Requester, tool: Option<String>) -> Self {
        Self {
            tool,
            body,
            requester: Some(requester),
            ..self
        }
    }

    /// The call as it is registered: what it sends goes to this stream, or to one of its own.
    pub(crate) fn record(&self, engine: &Engine, stream: Option<StreamId>) -> CallRecord {
        let ago_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        CallRecord {
            stream: stream.unwrap_or_else(|| self.name.clone()),
            name: self.name.clone(),
            node: engine.node.clone(),
            request: self.id.clone().into_json_value().to_string(),
            method: self.method.to_string(),
            started_ms: engine.now_ms().saturating_sub(ago_ms),
            body: None,
            cancelled: false,
        }
    }

    /// The same call, to be registered and logged: what it sends goes to this stream, or to one of its own.
    pub(crate) fn into_durable(
        self,
        engine: &Arc<Engine>,
        cached: &Arc<CachedSession>,
        stream: Option<StreamId>,
    ) -> DurableCall {
        let mut record = self.record(engine, stream);
        record.body = self.stored_request(engine);
        DurableCall {
            began: self.began,
            close_connection: self.close_connection,
            ..DurableCall::of(engine, cached, record)
        }
    }

    /// The request for a node that may have to run it again, if that is safe: it has no side effects, or says
    /// that repeating them is the same as doing it once.
    fn stored_request(&self, engine: &Engine) -> Option<String> {
        let safe = match &*self.method {
            "tools/call" => self
                .tool
                .as_deref()
                .and_then(|name| engine.tool(name))
                .is_some_and(|tool| {
                    let hints = tool.annotations.unwrap_or_default();
                    hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
                }),
            "tools/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "prompts/list"
            | "prompts/get"
            | "completion/complete" => true,
            _ => false,
        };
        let text = std::str::from_utf8(&self.body)
            .ok()
            .filter(|text| safe && !text.is_empty())?;
        StoredRequest::encode(text, self.requester.as_ref()?)
            .filter(|stored| stored.len() <= REPLAY_BYTES_MAX)
    }
}
