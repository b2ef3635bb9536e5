//! What it takes to log what a call of a session sends.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::RequestId;
use tokio::time::Instant;

use super::Shared;
use crate::cluster::Live;
use crate::protocol::message::Request;
use crate::store::streams::{CallRecord, StreamId};
use crate::telemetry::metrics::method_label;
use crate::transport::logged::{Log, Replay};

/// What is noted of a call from the start, for its log: few calls get one.
#[derive(Debug)]
pub(super) struct Noted {
    /// The name that it is given.
    pub(super) name: StreamId,
    id: RequestId,
    method: Cow<'static, str>,
    tool: Option<String>,
    body: Bytes,
    /// When it began.
    pub(super) began: Instant,
}

impl Noted {
    /// Notes a request that began at `began`: of that body, if that is known, and which calls that tool, if it does.
    pub(super) fn of(began: Instant, body: Bytes, request: &Request<'_>, tool: Option<String>) -> Self {
        let label = method_label(&request.method);
        Self {
            name: StreamId::generate(),
            id: request.id.clone(),
            method: match label == request.method {
                true => Cow::Borrowed(label),
                false => Cow::Owned(request.method.to_string()),
            },
            tool,
            body,
            began,
        }
    }

    /// The call as it is registered: what it sends goes to this stream, or to one of its own.
    pub(super) fn record(&self, shared: &Shared, stream: Option<StreamId>) -> CallRecord {
        let ago_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        CallRecord {
            stream: stream.unwrap_or_else(|| self.name.clone()),
            name: self.name.clone(),
            node: shared.node.clone(),
            request: self.id.clone().into_json_value().to_string(),
            method: self.method.to_string(),
            started_ms: shared.now_ms().saturating_sub(ago_ms),
            body: None,
            cancelled: false,
        }
    }

    /// What it takes to log what the call sends: to this stream, or to one of its own.
    pub(super) fn log(self, shared: &Arc<Shared>, live: &Arc<Live>, stream: Option<StreamId>) -> Log {
        let record = self.record(shared, stream);
        let replay = Replay {
            handler: Arc::clone(&shared.runner.handler),
            method: method_label(&self.method),
            tool: self.tool,
            body: self.body,
        };
        Log {
            began: self.began,
            replay: Some(replay),
            ..log_of(shared, live, record)
        }
    }
}

/// The log of a call that is registered as `record`.
pub(super) fn log_of(shared: &Arc<Shared>, live: &Arc<Live>, record: CallRecord) -> Log {
    Log {
        board: Arc::clone(&shared.board),
        live: Arc::clone(live),
        record,
        began: Instant::now(),
        replay: None,
        ttl: shared.settings.session.ttl,
        ended_ttl: shared.settings.stream.ttl,
        patience: shared.settings.store.outage_grace,
        keep_alive: shared.settings.call.keep_alive,
        draining: shared.handing_over(),
        kept: None,
        deadline: shared.deadline.clone(),
        let_go: Arc::default(),
    }
}
