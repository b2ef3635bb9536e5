//! What a client gets: one JSON body if its call answers soon and silently, else a stream of events.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Engine;
use super::call::RunningCall;
use super::durable_call::Start;
use super::pending_call::PendingCall;
use super::stream_writer::SOCKET_EVENTS_MAX;
use crate::cluster::CachedSession;
use crate::config::ReplyForm;
use crate::protocol::error::Refusal;
use crate::protocol::sse;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::{self, StreamKind};

mod client;

use client::{ReplyReceiver, Turn};

/// How many events may wait for a slow client; then what the call sends waits. Like the call's own queue it
/// bounds the number of messages and not their size, which is the handler's own choice.
const STREAM_QUEUE_EVENTS_MAX: usize = 64;
/// How long one event may wait for a place in the queue of a client that does not read. Then the client
/// counts as gone: a call must not hold its place, and its messages, for somebody who takes none of them.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long a call may go on whose client has gone, and can never come for the answer. A lost connection is
/// no cancellation (2025-11-25, Transports, "Sending Messages to the Server"), so that the call may finish
/// what it is at; but it must not hold its place until its time is up.
const ABANDONED_FOR: Duration = Duration::from_secs(5);

/// The last comment of a stream that ends without a response, because its call was cancelled.
pub(super) const NOTHING: Bytes = Bytes::from_static(b": nothing more will come\n\n");

/// What kind of answer it is. When the answer is the whole body, HTTP gives it a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A response like any other: a result, or an error of the method's own.
    Answered,
    /// None: the call was cancelled, or there is nothing to answer.
    Nothing,
    /// An error: the request does not hold what 2026-07-28 asks for.
    Malformed,
    /// An error: there is no such method, or no such session any longer.
    NotFound,
    /// An error: a limit of the client is reached, and it can try again later.
    TooMany,
    /// An error: the node lacks something that it needs, and the client can try again later.
    Unavailable,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The JSON-RPC response; `None` for a call that was cancelled, which has none.
    pub body: Option<Bytes>,
    /// What kind of answer it is.
    pub verdict: Verdict,
}

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
        let (events, stream) = mpsc::channel(STREAM_QUEUE_EVENTS_MAX);
        let supervisor = self.supervisor.clone();
        let told = self.tell(events, keep_alive, message, finished, |_| true);
        supervisor.spawn("stream", told.in_current_span());
        Reply::Stream(stream)
    }

    /// Writes to the client at the other end of `events`: what came `first`, what the call sends if it
    /// `passes`, and the response of a call that has `finished` already, or else runs to its end.
    pub(super) fn tell(
        mut self,
        events: mpsc::Sender<Bytes>,
        keep_alive: Duration,
        first: impl IntoIterator<Item = Bytes, IntoIter: Send> + Send,
        finished: Option<Finished>,
        passes: impl Fn(&[u8]) -> bool + Send + Sync,
    ) -> impl Future<Output = ()> + Send {
        // Counted from now on: its client may ask at once.
        let opened = metrics::stream_open(self.kind);
        async move {
            let mut client = ReplyReceiver::new(events);
            for message in first {
                if passes(&message) {
                    client.write(sse::message(&message)).await;
                }
            }
            let finished = match finished {
                Some(finished) => finished,
                None => self.run(&mut client, keep_alive, &passes).await,
            };
            // What the call sent is written; what a task of it sends later is not.
            if let Some(mut messages) = self.messages.take() {
                messages.close();
                while let Ok(message) = messages.try_recv() {
                    if passes(&message) {
                        client.write(sse::message(&message)).await;
                    }
                }
            }
            match finished.body {
                Some(body) => client.write(sse::message(&body)).await,
                // A reply of no bytes is taken for one that broke.
                None => client.write(NOTHING).await,
            }
            client.flush().await;
            drop(opened);
        }
    }

    /// Runs the call to its end. The call goes on, and with it its bounds, while an event waits to be
    /// written; only what it sends waits behind that event.
    async fn run(
        &mut self,
        client: &mut ReplyReceiver,
        keep_alive: Duration,
        passes: &(impl Fn(&[u8]) -> bool + Sync),
    ) -> Finished {
        let Some(mut call) = self.call.take() else {
            return Finished::nothing();
        };
        let mut given_up = pin!(give_up(&self.cancel));
        let mut abandoned = false;
        loop {
            tokio::select! {
                biased;
                finished = &mut call => return finished,
                turn = client.turn() => match turn {
                    Turn::Written => {}
                    // It was given no event id.
                    Turn::Gone if self.survives => abandoned = true,
                    Turn::Gone => self.cancel.cancel(),
                },
                () = &mut given_up, if abandoned => abandoned = false,
                Some(message) = next(&mut self.messages), if client.is_ready() => {
                    if passes(&message) {
                        client.put(sse::message(&message));
                    }
                }
                () = sleep(keep_alive), if client.is_ready() => client.put(sse::KEEP_ALIVE),
            }
        }
    }
}

impl Flight {
    /// The head of the answer waits until the call is registered: a client that has it can come back.
    async fn into_durable_stream(
        mut self,
        durable: Durable,
        message: Option<Bytes>,
        finished: Option<Finished>,
    ) -> Reply {
        let (client, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
        let call = match (finished, self.call.take()) {
            (Some(finished), _) => Box::pin(std::future::ready(finished)),
            (None, Some(call)) => call,
            (None, None) => return Reply::Json(Finished::nothing()),
        };
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
            // An error says that it ended at once: so does the stream.
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

impl Finished {
    /// A response like any other.
    pub(crate) const fn answered(body: Bytes) -> Self {
        Self {
            body: Some(body),
            verdict: Verdict::Answered,
        }
    }

    /// The end of a call without a response.
    #[must_use]
    pub(crate) const fn nothing() -> Self {
        Self {
            body: None,
            verdict: Verdict::Nothing,
        }
    }
}

/// Gives a call some time to finish whose client can never come for the answer, then cancels it.
pub(super) async fn give_up(cancel: &CancellationToken) {
    sleep(ABANDONED_FOR).await;
    tracing::debug!("a call is cancelled: its client has gone, and cannot come back");
    cancel.cancel();
}

/// Waits that long, from when it is first polled: a timer is made, and the clock read, only by a call that
/// has to wait.
pub(crate) async fn later(wait: Duration) {
    sleep(wait).await;
}

enum First {
    Message(Bytes),
    Finished(Finished),
    Silence,
}

/// The next message of a call, if it sends any.
async fn next(messages: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    messages.as_mut()?.recv().await
}

/// The messages of a call that sends nothing.
#[must_use]
pub(crate) fn silence() -> mpsc::Receiver<Bytes> {
    mpsc::channel(1).1
}

/// Where a call's messages go, and the other end.
#[must_use]
pub(crate) fn outbound() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(super::peer::OUTBOUND_MESSAGES_MAX)
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
