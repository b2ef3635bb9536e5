//! Stops calls that their client has cancelled, on the node that runs them, and tells their handlers.
//!
//! The node that runs a call tells its handler (`on_cancelled`), once, however the node has heard of it: from
//! the client itself, by a message of another node, or when the call looks into the store. A call that ends
//! for another reason, such as its time or its session's end, is none that its client has cancelled, and
//! neither is one of 2026-07-28 whose connection is closed: there the token fires, as in rmcp.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CancelledNotification, CancelledNotificationParam, RequestId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, warn};

use super::Engine;
use super::incoming::Requester;
use super::notify;
use super::session_outbox::outside;
use super::shares::Resource;
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::protocol::error::Refusal;
use crate::protocol::message::{Notification, parse_id};
use crate::session::{Connection, Peer, SessionId};
use crate::store::calls::Cancelled;
use crate::store::streams::StreamId;
use crate::store::{NodeMessage, Recipients};
use crate::telemetry::seldom;

/// How long a cancellation is kept for calls that have begun and are not registered yet: far longer than the
/// reply grace.
const CANCELLED_FOR: Duration = Duration::from_secs(60);
/// How much of a client's reason its handler is told.
const REASON_BYTES_MAX: usize = 512; // 256 notes x 512 B = 128 KiB a session

/// What a client says that it cancels.
#[derive(Debug)]
pub(super) struct CancelledRequest {
    id: RequestId,
    reason: Option<String>,
}

impl CancelledRequest {
    /// Reads `notifications/cancelled`. A reason that is no text is none.
    ///
    /// # Errors
    /// [`Refusal::NotAMessage`].
    pub(super) fn read(notification: &Notification<'_>) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct CancelledParams<'a> {
            #[serde(rename = "requestId", borrow)]
            request_id: &'a RawValue,
            #[serde(borrow)]
            reason: Option<&'a RawValue>,
        }
        let params: CancelledParams<'_> = notification
            .params
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .ok_or(Refusal::NotAMessage(
                "notifications/cancelled needs params.requestId",
            ))?;
        let reason = params
            .reason
            .and_then(|reason| serde_json::from_str(reason.get()).ok());
        Ok(Self {
            id: parse_id(params.request_id)?,
            reason: reason.map(shortened),
        })
    }
}

fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

impl Engine {
    /// Cancels the calls of this session that had begun under that id when the client said so, wherever they
    /// run.
    ///
    /// # Errors
    /// [`Refusal`]: the session is gone, or no call of that id runs here and no other node could be told.
    pub(super) async fn cancel(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        cancelled: &CancelledRequest,
        said: Instant,
    ) -> Result<(), Refusal> {
        let CancelledRequest { id, reason } = cancelled;
        let here = self.calls.cancel(&cached.id, id, |began| began <= said);
        for peer in here.untold {
            self.tell_cancelled(cached, id, reason.clone(), peer);
        }
        let request = id.clone().into_json_value().to_string();
        let noted = self.store.cancel(
            &cached.id,
            &request,
            reason.as_deref(),
            said.elapsed(),
            CANCELLED_FOR,
        );
        match noted.await {
            Ok(Cancelled::Noted(_)) => {}
            Ok(Cancelled::Gone) => return Err(self.session_gone(cached).await),
            Err(error) if here.any => {
                debug!(session = cached.tag, error = %causes(&error), "could not cancel calls of other nodes");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let message = NodeMessage::Cancel {
            session: cached.id.as_str().to_owned(),
            request,
        };
        // A call that is not registered may run on any node. A node that runs none of that id does not ask
        // for the time.
        Ok(self.store.send(Recipients::All, &message).await?)
    }

    /// Cancels the calls of that id that run here, and began before the client has cancelled it: the message
    /// about that may be read when the client has used the id again already.
    pub(super) async fn cancel_elders(self: &Arc<Self>, session: &SessionId, request: &str, id: &RequestId) {
        // Before it is asked: a call must not seem older than it is.
        let asked = Instant::now();
        let noted = match self.store.cancelled(session, request).await {
            Ok(Some(noted)) => noted,
            Ok(None) => return,
            Err(error) => {
                let tag = session.tag();
                debug!(session = tag, error = %causes(&error), "could not read a cancellation; the call finds it when it looks");
                return;
            }
        };
        let here = self.calls.cancel(session, id, |began| asked - began > noted.ago);
        for peer in here.untold {
            self.tell_cancelled_in(session, id, noted.reason.clone(), peer)
                .await;
        }
    }

    /// Stops a call of this node that the store says is cancelled. A client of HTTP+SSE that was started again
    /// ends its former calls so too, of which it knows nothing: then no cancellation is noted.
    pub(super) async fn cancel_found(self: &Arc<Self>, session: &SessionId, call: &StreamId) {
        let Some((id, peer)) = self.calls.cancel_named(session, call) else {
            return;
        };
        let request = id.clone().into_json_value().to_string();
        let reason = match self.store.cancelled(session, &request).await {
            Ok(Some(noted)) => noted.reason,
            Ok(None) => return,
            Err(error) => {
                let tag = session.tag();
                debug!(session = tag, error = %causes(&error), "could not read why a call was cancelled");
                None
            }
        };
        self.tell_cancelled_in(session, &id, reason, peer).await;
    }

    async fn tell_cancelled_in(
        self: &Arc<Self>,
        session: &SessionId,
        id: &RequestId,
        reason: Option<String>,
        peer: Peer,
    ) {
        match self.sessions.recall(session).await {
            Ok(Some(cached)) => self.tell_cancelled(&cached, id, reason, peer),
            Ok(None) => {}
            Err(error) => {
                let words = "a handler is not told that its call was cancelled: its session cannot be read";
                let error = causes(&error);
                seldom(
                    words,
                    |left_out| warn!(session = session.tag(), %error, left_out, "{words}"),
                );
            }
        }
    }

    /// Tells the handler, outside the call, whose token has fired. What it knows of the HTTP request is the
    /// same on every node: nothing.
    fn tell_cancelled(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        id: &RequestId,
        reason: Option<String>,
        peer: Peer,
    ) {
        let requester = Requester::of_no_request(&cached.record.principal, self.shares.of(peer));
        let share = match requester.peer.take(Resource::Notifications, 1) {
            Ok(share) => share,
            Err(reason) => {
                let words = "a handler is not told that its call was cancelled";
                return seldom(words, |left_out| {
                    warn!(session = cached.tag, reason, left_out, "{words}")
                });
            }
        };
        let param = CancelledNotificationParam::new(Some(id.clone()), reason);
        let notification = CancelledNotification::new(param).into();
        let caller = self.caller(cached, &requester, Connection::default());
        let (handler, transport) = (Arc::clone(&self.handler), outside(self, cached));
        let limit = self.settings.call.timeout;
        let told = async move {
            notify::deliver(notification, caller, handler, transport, limit).await;
            drop(share);
        };
        self.work.spawn("tell-cancelled", told.in_current_span());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: &str) -> Result<CancelledRequest, Refusal> {
        let params: &RawValue = serde_json::from_str(params).unwrap();
        CancelledRequest::read(&Notification {
            method: "notifications/cancelled".into(),
            params: Some(params),
        })
    }

    #[test]
    fn a_reason_is_a_text_of_bounded_length_or_none() {
        let reason = |params: &str| read(params).unwrap().reason;
        assert_eq!(reason(r#"{"requestId": 1}"#), None);
        assert_eq!(reason(r#"{"requestId": 1, "reason": null}"#), None);
        assert_eq!(reason(r#"{"requestId": 1, "reason": {"a": 1}}"#), None);
        assert_eq!(
            reason(r#"{"requestId": "1", "reason": "t\u00f6o late"}"#).unwrap(),
            "töo late"
        );
        let long = format!(
            r#"{{"requestId": 1, "reason": "x{}"}}"#,
            "ä".repeat(REASON_BYTES_MAX)
        );
        assert_eq!(
            reason(&long).unwrap().len(),
            REASON_BYTES_MAX - 1,
            "no half character"
        );
        assert!(read("{}").is_err());
    }
}
