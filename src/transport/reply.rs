//! What a client gets: one JSON body if its call answers soon and silently, else a stream of events.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::carrier::SOCKET_EVENTS_MAX;
use super::logged::Log;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::{self, StreamKind};

/// How many events may wait for a slow client; then the call waits.
const STREAM_QUEUE_EVENTS_MAX: usize = 64; // 64 x 64 KiB = 4 MiB a client
/// What keeps a silent stream open: a comment, which no client sees as an event.
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// How a call ended.
#[derive(Debug)]
pub struct Finished {
    /// The JSON-RPC response; `None` for a call that was cancelled, which has none.
    pub body: Option<Bytes>,
    /// The HTTP status that goes with the response when it is the whole body.
    pub status: StatusCode,
}

/// A call under way.
pub struct Flight {
    call: Option<BoxFuture<'static, Finished>>,
    outbound: mpsc::Receiver<Bytes>,
    cancel: CancellationToken,
    survives: bool,
    supervisor: Supervisor,
    log: Option<Box<Log>>,
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
pub enum Reply {
    /// One JSON body.
    Json(Finished),
    /// Server-sent events; the stream ends after the response.
    Stream(mpsc::Receiver<Bytes>),
}

/// When a reply turns into a stream, and what keeps it open.
#[derive(Debug, Clone, Copy)]
pub struct ReplyTimes {
    /// How long a call may stay silent before its reply turns into a stream.
    pub grace: Duration,
    /// How often a silent stream gets a comment.
    pub keep_alive: Duration,
}

impl Flight {
    /// A call under way. What it sends before it ends comes out of `outbound`. When its client goes away it goes on
    /// if it `survives` (legacy: a lost connection is no cancellation), else `cancel` fires (2026-07-28).
    #[must_use]
    pub fn new(
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        cancel: CancellationToken,
        survives: bool,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            call: Some(call),
            outbound,
            cancel,
            survives,
            supervisor,
            log: None,
        }
    }

    /// The same, but a reply that becomes a stream is logged, so that any node can carry it on.
    #[must_use]
    pub fn logged(mut self, log: Log) -> Self {
        self.log = Some(Box::new(log));
        self
    }

    /// Runs the call until it is known what the client gets. A stream goes on in a task of its own.
    pub async fn reply(mut self, times: ReplyTimes) -> Reply {
        let Some(call) = self.call.as_mut() else {
            return Reply::Json(Finished::nothing());
        };
        let first = tokio::select! {
            biased;
            Some(message) = self.outbound.recv() => First::Message(message),
            finished = call => First::Finished(finished),
            () = sleep(times.grace) => First::Silence,
        };
        match first {
            First::Finished(finished) => {
                self.call = None;
                // What the call sent before it ended is told before its end.
                match self.outbound.try_recv() {
                    Err(_) => Reply::Json(finished),
                    Ok(message) => self.into_stream(times.keep_alive, Some(message), Some(finished)),
                }
            }
            First::Message(message) => self.into_stream(times.keep_alive, Some(message), None),
            First::Silence => self.into_stream(times.keep_alive, None, None),
        }
    }

    fn into_stream(
        mut self,
        keep_alive: Duration,
        message: Option<Bytes>,
        finished: Option<Finished>,
    ) -> Reply {
        if let Some(log) = self.log.take() {
            return self.into_logged_stream(*log, message, finished);
        }
        let (events, stream) = mpsc::channel(STREAM_QUEUE_EVENTS_MAX);
        let supervisor = self.supervisor.clone();
        supervisor.spawn("stream", async move {
            let opened = metrics::stream_open(StreamKind::Reply);
            let mut client = Client { events: Some(events) };
            if let Some(message) = message {
                client.send(&message).await;
            }
            let finished = match finished {
                Some(finished) => finished,
                None => self.run(&mut client, keep_alive).await,
            };
            while let Ok(message) = self.outbound.try_recv() {
                client.send(&message).await;
            }
            if let Some(body) = finished.body {
                client.send(&body).await;
            }
            drop(opened);
        });
        Reply::Stream(stream)
    }

    async fn run(&mut self, client: &mut Client, keep_alive: Duration) -> Finished {
        let Some(mut call) = self.call.take() else {
            return Finished::nothing();
        };
        loop {
            tokio::select! {
                biased;
                Some(message) = self.outbound.recv() => client.send(&message).await,
                finished = &mut call => return finished,
                () = client.gone() => {
                    client.events = None;
                    if !self.survives {
                        self.cancel.cancel();
                    }
                }
                () = sleep(keep_alive) => client.comment().await,
            }
        }
    }
}

impl Flight {
    fn into_logged_stream(mut self, log: Log, message: Option<Bytes>, finished: Option<Finished>) -> Reply {
        let (client, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
        let call = match (finished, self.call.take()) {
            (Some(finished), _) => Box::pin(std::future::ready(finished)),
            (None, Some(call)) => call,
            (None, None) => return Reply::Json(Finished::nothing()),
        };
        let (_, empty) = mpsc::channel(1);
        let outbound = std::mem::replace(&mut self.outbound, empty);
        let first = message.into_iter().collect();
        let run = log.run(call, outbound, first, self.cancel.clone(), client);
        self.supervisor.spawn("logged-call", run);
        Reply::Stream(socket)
    }
}

impl Drop for Flight {
    /// The client went away before it was known what it gets.
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if !self.survives {
            self.cancel.cancel();
        }
        let (_, empty) = mpsc::channel(1);
        let mut outbound = std::mem::replace(&mut self.outbound, empty);
        self.supervisor.spawn("call-without-client", async move {
            let mut call = call;
            loop {
                tokio::select! {
                    biased;
                    Some(unheard) = outbound.recv() => drop(unheard),
                    finished = &mut call => return drop(finished),
                }
            }
        });
    }
}

impl Finished {
    /// The end of what has no response.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            body: None,
            status: StatusCode::ACCEPTED,
        }
    }
}

enum First {
    Message(Bytes),
    Finished(Finished),
    Silence,
}

/// The receiving end of a stream, for as long as it is there.
struct Client {
    events: Option<mpsc::Sender<Bytes>>,
}

impl Client {
    async fn send(&mut self, message: &[u8]) {
        self.write(event(message)).await;
    }

    async fn comment(&mut self) {
        self.write(KEEP_ALIVE).await;
    }

    async fn write(&mut self, bytes: Bytes) {
        if let Some(events) = &self.events
            && events.send(bytes).await.is_err()
        {
            tracing::debug!("the client of a stream has gone");
        }
    }

    /// Waits until the client goes away; for ever once that is known.
    async fn gone(&self) {
        match &self.events {
            Some(events) => events.closed().await,
            None => std::future::pending().await,
        }
    }
}

/// A message as a server-sent event. JSON text has no line breaks, so it is one `data:` line.
fn event(message: &[u8]) -> Bytes {
    const HEAD: &[u8] = b"event: message\ndata: ";
    const TAIL: &[u8] = b"\n\n";
    let mut bytes = BytesMut::with_capacity(HEAD.len() + message.len() + TAIL.len());
    bytes.put_slice(HEAD);
    bytes.put_slice(message);
    bytes.put_slice(TAIL);
    bytes.freeze()
}

/// Where a call's messages go, and the other end.
#[must_use]
pub fn outbound() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(super::peer::OUTBOUND_MESSAGES_MAX)
}

/// Joins the calls of a batch (2025-03-26) into one, whose response is the array of theirs.
pub async fn join(calls: Vec<BoxFuture<'static, Finished>>) -> Finished {
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
        status: StatusCode::OK,
    }
}
