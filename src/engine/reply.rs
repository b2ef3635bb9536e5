//! What a client gets: one JSON body if its call answers soon and silently, else a stream of events.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Engine;
use super::durable_call::Start;
use super::pending_call::PendingCall;
use super::running_call::{Finished, RunningCall, Verdict, give_up, later, next, silence};
use super::stream_writer::SOCKET_EVENTS_MAX;
use super::unlogged_stream::UnloggedStream;
use crate::cluster::CachedSession;
use crate::config::ReplyForm;
use crate::protocol::error::Refusal;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::StreamKind;

/// How many events may wait for a slow client; then what the call sends waits. Like the call's own queue it
/// bounds the number of messages and not their size, which is the handler's own choice.
const STREAM_QUEUE_EVENTS_MAX: usize = 64;

/// The reply to a call while nobody knows yet whether it is one body or a stream.
pub(crate) struct Flight {
    call: Option<BoxFuture<'static, Finished>>,
    messages: Option<mpsc::Receiver<Bytes>>,
    cancel: CancellationToken,
    survives: bool,
    kind: StreamKind,
    supervisor: Supervisor,
    /// What the call is registered as when the reply becomes a stream, as few do.
    durable: Option<Box<Durable>>,
}

/// What it takes to register a call of a session.
struct Durable {
    engine: Arc<Engine>,
    cached: Arc<CachedSession>,
    pending: PendingCall,
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight")
            .field("survives", &self.survives)
            .finish_non_exhaustive()
    }
}

/// What goes to the client.
#[derive(Debug)]
pub(crate) enum Reply {
    /// One JSON body.
    Json(Finished),
    /// Server-sent events; the stream ends after the response.
    Stream(mpsc::Receiver<Bytes>),
    /// A refusal: the call's session proved to be gone.
    Refused(Refusal),
}

/// Whether and when a reply turns into a stream, and what keeps it open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTimes {
    /// What form the reply has.
    pub form: ReplyForm,
    /// How long a call may stay silent before its reply turns into a stream.
    pub grace: Duration,
    /// How often a silent stream gets a comment.
    pub keep_alive: Duration,
}

impl Flight {
    /// The reply to that call. When its client goes away the call goes on for a while if it `survives`
    /// (legacy: a lost connection is no cancellation), and to its end if the client can come back for the
    /// answer; else `cancel` fires (2026-07-28).
    #[must_use]
    pub(crate) fn new(
        running: RunningCall,
        cancel: CancellationToken,
        survives: bool,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            call: Some(running.call),
            messages: running.messages,
            cancel,
            survives,
            kind: StreamKind::Reply,
            supervisor,
            durable: None,
        }
    }

    /// The same for a reply whose stream counts as this kind.
    #[must_use]
    pub(crate) const fn of_kind(mut self, kind: StreamKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same, but a reply that becomes a stream is registered and logged as that call of the session, so
    /// that any node can carry it on.
    #[must_use]
    pub(crate) fn durable(
        mut self,
        engine: &Arc<Engine>,
        cached: &Arc<CachedSession>,
        pending: PendingCall,
    ) -> Self {
        self.durable = Some(Box::new(Durable {
            engine: Arc::clone(engine),
            cached: Arc::clone(cached),
            pending,
        }));
        self
    }

    /// Runs the call until it is known what the client gets. A stream goes on in a task of its own.
    pub(crate) async fn reply(mut self, times: ReplyTimes) -> Reply {
        match times.form {
            ReplyForm::Auto => {}
            ReplyForm::Json => return Reply::Json(self.whole().await),
            ReplyForm::Sse => return self.into_stream(times.keep_alive, None, None).await,
        }
        let Some(call) = self.call.as_mut() else {
            return Reply::Json(Finished::nothing());
        };
        let first = tokio::select! {
            biased;
            Some(message) = next(&mut self.messages) => First::Message(message),
            finished = call => First::Finished(finished),
            () = later(times.grace) => First::Silence,
        };
        match first {
            First::Finished(finished) => {
                self.call = None;
                // What the call sent before it ended is told before its end.
                match self
                    .messages
                    .as_mut()
                    .and_then(|messages| messages.try_recv().ok())
                {
                    None => Reply::Json(finished),
                    Some(message) => {
                        self.into_stream(times.keep_alive, Some(message), Some(finished))
                            .await
                    }
                }
            }
            First::Message(message) => self.into_stream(times.keep_alive, Some(message), None).await,
            First::Silence => self.into_stream(times.keep_alive, None, None).await,
        }
    }

    /// Runs the call to its end, for a client that gets nothing before. What it sends is for nobody, unless
    /// its messages go elsewhere.
    async fn whole(&mut self) -> Finished {
        let Some(call) = self.call.as_mut() else {
            return Finished::nothing();
        };
        let finished = loop {
            tokio::select! {
                biased;
                finished = &mut *call => break finished,
                Some(unheard) = next(&mut self.messages) => drop(unheard),
            }
        };
        self.call = None;
        // A cancelled call has no response, and a client that wants no stream gets no empty one.
        match finished.body {
            Some(_) => finished,
            None => Finished::nothing(),
        }
    }

    async fn into_stream(
        mut self,
        keep_alive: Duration,
        message: Option<Bytes>,
        finished: Option<Finished>,
    ) -> Reply {
        if let Some(durable) = self.durable.take() {
            return self.into_durable_stream(*durable, message, finished).await;
        }
        let Some(call) = self.rest(finished) else {
            return Reply::Json(Finished::nothing());
        };
        let (client, stream) = mpsc::channel(STREAM_QUEUE_EVENTS_MAX);
        let unlogged = UnloggedStream {
            running: RunningCall {
                call,
                messages: self.messages.take(),
            },
            cancel: self.cancel.clone(),
            survives: self.survives,
            kind: self.kind,
            keep_alive,
            questions: None,
        };
        let written = unlogged.write(client, message);
        self.supervisor.spawn("stream", written.in_current_span());
        Reply::Stream(stream)
    }

    /// What is left of the call, which may have `finished` already.
    fn rest(&mut self, finished: Option<Finished>) -> Option<BoxFuture<'static, Finished>> {
        match finished {
            Some(finished) => Some(Box::pin(std::future::ready(finished))),
            None => self.call.take(),
        }
    }

    /// The head of the answer waits until the call is registered: a client that has it can come back.
    async fn into_durable_stream(
        mut self,
        durable: Durable,
        message: Option<Bytes>,
        finished: Option<Finished>,
    ) -> Reply {
        let Some(call) = self.rest(finished) else {
            return Reply::Json(Finished::nothing());
        };
        let (client, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
        let messages = self.messages.take().unwrap_or_else(silence);
        let first = message.into_iter().collect();
        let (begun, has_begun) = oneshot::channel();
        let Durable {
            engine,
            cached,
            pending,
        } = durable;
        let durable = pending.into_durable(&engine, &cached, None);
        let run = durable.run(call, messages, first, self.cancel.clone(), client, begun);
        self.supervisor.spawn("durable-call", run.in_current_span());
        match has_begun.await {
            Ok(Start::Nothing) => Reply::Json(Finished::nothing()),
            Ok(Start::Refused(refusal)) => Reply::Refused(refusal),
            // An error says that it ended at once, because the node stops: so does the stream. The call has begun, so
            // nothing may invite its client to send it again.
            Ok(Start::Stream) | Err(_) => Reply::Stream(socket),
        }
    }
}

impl Drop for Flight {
    /// The client went away before it was known what it gets.
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if !self.survives {
            self.cancel.cancel();
        }
        let (mut messages, cancel) = (self.messages.take(), self.cancel.clone());
        let alone = async move {
            let (mut call, mut given_up) = (call, pin!(give_up(&cancel)));
            loop {
                tokio::select! {
                    biased;
                    finished = &mut call => return drop(finished),
                    () = &mut given_up, if !cancel.is_cancelled() => {}
                    Some(unheard) = next(&mut messages) => drop(unheard),
                }
            }
        };
        // Dropped within the request's span, as part of what it instruments.
        self.supervisor
            .spawn("call-without-client", alone.in_current_span());
    }
}

enum First {
    Message(Bytes),
    Finished(Finished),
    Silence,
}

/// Joins the calls of a batch (2025-03-26) into one, whose response is the array of theirs.
pub(crate) async fn join(calls: Vec<BoxFuture<'static, Finished>>) -> Finished {
    let bodies: Vec<Bytes> = futures::future::join_all(calls)
        .await
        .into_iter()
        .filter_map(|finished| finished.body)
        .collect();
    if bodies.is_empty() {
        return Finished::nothing();
    }
    let size = bodies.iter().map(|body| body.len() + 1).sum::<usize>() + 1;
    let mut array = BytesMut::with_capacity(size);
    for (index, body) in bodies.iter().enumerate() {
        array.put_u8(if index == 0 { b'[' } else { b',' });
        array.put_slice(body);
    }
    array.put_u8(b']');
    Finished {
        body: Some(array.freeze()),
        verdict: Verdict::Answered,
    }
}

#[cfg(test)]
mod reply_tests;
