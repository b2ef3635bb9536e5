//! A batch of 2025-03-26: each message stands alone, the responses come together.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::{Run, refused};
use crate::cluster::CachedSession;
use crate::config::ReplyForm;
use crate::engine::Engine;
use crate::engine::incoming::Incoming;
use crate::engine::pending_call::PendingCall;
use crate::engine::reply::{Flight, Reply, join};
use crate::engine::request::RequestMeta;
use crate::engine::running_call::{Finished, RunningCall, outbound};
use crate::engine::session_outbox::{WithinReply, beside_reply, within_reply};
use crate::protocol::error::Refusal;
use crate::protocol::message::{Message, Request, Unreadable};
use crate::telemetry::metrics;

impl Engine {
    /// A batch.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn batch(
        self: &Arc<Self>,
        incoming: Incoming,
        cached: &Arc<CachedSession>,
        items: Vec<Result<Message<'_>, Unreadable>>,
    ) -> Result<Reply, Refusal> {
        if !cached.revision().allows_batches() {
            return Err(Refusal::BatchNotAllowed);
        }
        let form = incoming.form;
        let (out, messages) = outbound();
        let cancel = CancellationToken::new();
        let mut running = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Ok(Message::Request(request)) => {
                    let id = request.id.clone();
                    let began = self.begin_one(&incoming, cached, request, &out, &cancel).await;
                    let began = began.unwrap_or_else(|refusal| refused(&refusal, Some(&id)));
                    running.push(began.call);
                }
                Ok(Message::Notification(notification)) => {
                    // It stands alone like the others, but nothing answers it.
                    if let Err(refusal) = self.notification(incoming.clone(), cached, &notification).await {
                        metrics::refused(refusal.label());
                        tracing::debug!(reason = refusal.label(), "a batch's notification was refused");
                    }
                }
                Ok(Message::Response(response)) => self.response(cached, response).await?,
                Err(unreadable) => {
                    running.push(refused(&unreadable.refusal, unreadable.id.as_ref()).call);
                }
            }
        }
        drop(out);
        if running.is_empty() {
            // Notifications and responses only (2025-03-26, Transports, "Sending Messages to the Server").
            return Ok(Reply::Json(Finished::nothing()));
        }
        let running = RunningCall {
            call: Box::pin(join(running)),
            messages: Some(messages),
        };
        let flight = Flight::new(running, cancel, true, self.work.clone());
        Ok(flight.reply(self.reply_times(form)).await)
    }

    /// Gets one request ready and running, whose messages go to `out` unless replies are single bodies.
    async fn begin_one(
        self: &Arc<Self>,
        incoming: &Incoming,
        cached: &Arc<CachedSession>,
        request: Request<'_>,
        out: &Sender<Bytes>,
        cancel: &CancellationToken,
    ) -> Result<RunningCall, Refusal> {
        let meta = RequestMeta::read(request.params)?;
        let pending = PendingCall::new(incoming.began, &request);
        let (out, within) = match incoming.form {
            ReplyForm::Json => (beside_reply(self, cached, &pending), None),
            ReplyForm::Auto | ReplyForm::Sse => {
                let (out, within) = within_reply(self, cached, &pending, out.clone());
                (out, Some(within))
            }
        };
        let run = Run::first(&pending, incoming.requester.clone(), cancel.child_token()).to(out);
        let run = run.from(incoming.from.clone());
        let began = self.begin(cached, request, meta, run).await;
        Ok(all_told(began?, within))
    }
}

/// The same call, which ends once all its messages are written.
fn all_told(began: RunningCall, within: Option<WithinReply>) -> RunningCall {
    let Some(within) = within else { return began };
    let call = async move {
        let finished = began.call.await;
        within.end().await;
        finished
    };
    RunningCall {
        call: Box::pin(call),
        messages: began.messages,
    }
}
