//! A reply that any node can carry on: the call is registered, and what it sends goes into a log before it goes to the
//! client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::aside::{question_in, refuse};
use super::calls::Kept;
use super::carrier::{Carrier, SLOW_CLIENT, Terms};
use super::handler::Handler;
use super::hub::Line;
use super::reply::{Finished, WRITE_WITHIN, event};
use super::switchboard::{Found, Switchboard};
use crate::cluster::Live;
use crate::protocol::era::Revision;
use crate::session::NodeId;
use crate::store::StoreError;
use crate::store::streams::{Appended, Begun, CallRecord, Event, Holder, REPLAY_BYTES_MAX, Read, Step};
use crate::telemetry::metrics::StreamKind;

/// How often a call looks for answers though nobody rang: a lost ring delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the store may take to register a call, before its client is served without a log.
const REGISTERED_WITHIN: Duration = Duration::from_secs(2);
/// How far a call may run ahead of a client that is attached here, in events.
const AHEAD_EVENTS_MAX: u64 = 32; // 32 x 128 KiB = 4 MiB, as many bytes as a stream keeps
/// How soon a store that does not answer is asked again, at first and at most.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The request of a call, for a node that may have to run it again.
#[derive(Debug)]
pub struct Replay {
    /// The handler, which knows what is safe to repeat.
    pub handler: Arc<dyn Handler>,
    /// The method.
    pub method: &'static str,
    /// The tool that is called, if one is.
    pub tool: Option<String>,
    /// The request's JSON text.
    pub body: Bytes,
}

impl Replay {
    /// The request's text, if it can be run again without harm: it has no side effects, or says that repeating them is
    /// the same as doing it once.
    fn into_body(self) -> Option<String> {
        let safe = match self.method {
            "tools/call" => self
                .tool
                .as_deref()
                .and_then(|name| self.handler.tool(name))
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
        if !safe || self.body.is_empty() || self.body.len() > REPLAY_BYTES_MAX {
            return None;
        }
        String::from_utf8(self.body.into()).ok()
    }
}

/// What a call needs so that its reply can be carried on.
#[derive(Debug)]
pub struct Log {
    /// Where streams and calls are found.
    pub board: Switchboard,
    /// The session.
    pub live: Arc<Live>,
    /// The call.
    pub record: CallRecord,
    /// Its request, until the call is registered.
    pub replay: Option<Replay>,
    /// How long the log lives after its last event.
    pub ttl: Duration,
    /// How long a store that is away is waited for before the call is given up.
    pub patience: Duration,
    /// How often a silent stream gets a comment.
    pub keep_alive: Duration,
    /// Fires when the node drains.
    pub draining: CancellationToken,
    /// Fires when the drain's deadline has come.
    pub deadline: CancellationToken,
    /// Held while this node looks after the call.
    pub kept: Option<Kept>,
}

/// What one run of a call has written.
struct Writing {
    /// The run: another node that claims the call makes another.
    run: String,
    /// How many events.
    steps: u64,
    /// Whether any more can be.
    open: bool,
    /// How long the store is waited for: not at all for what follows a message that was given up.
    patience: Duration,
    /// Fires when it is of no use to go on.
    cancel: CancellationToken,
    /// What an earlier run has told.
    told: Progress,
}

impl Writing {
    fn new(told: Progress, patience: Duration, cancel: &CancellationToken) -> Self {
        Self {
            patience,
            run: Uuid::new_v4().simple().to_string(),
            steps: 0,
            open: !cancel.is_cancelled(),
            cancel: cancel.clone(),
            told,
        }
    }
}

/// How far calls have told their progress, by its token. Progress must increase (2025-11-25, Progress), so a call that is
/// run again is silent until it is further than the first run was.
#[derive(Debug, Default)]
struct Progress(HashMap<String, f64>);

impl Progress {
    /// What the stream of a call tells.
    async fn told(log: &Log) -> Self {
        let (mut told, mut after) = (HashMap::new(), 0);
        while let Ok(Read::Events { events, head, .. }) = log
            .board
            .store
            .read(&log.live.id, &log.record.stream, after)
            .await
        {
            let steps = events
                .iter()
                .filter_map(|event| progress_in(event.data.as_bytes()));
            for (token, step) in steps {
                let known = told.entry(token).or_insert(step);
                *known = known.max(step);
            }
            match events.last() {
                Some(last) if last.number < head => after = last.number,
                _ => break,
            }
        }
        Self(told)
    }

    fn covers(&self, message: &[u8]) -> bool {
        !self.0.is_empty()
            && progress_in(message)
                .is_some_and(|(token, step)| self.0.get(&token).is_some_and(|told| step <= *told))
    }
}

/// The progress that a message tells, and its token, if it is of that kind.
fn progress_in(message: &[u8]) -> Option<(String, f64)> {
    #[derive(serde::Deserialize)]
    struct Told {
        method: String,
        params: Params,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        progress_token: serde_json::Value,
        progress: f64,
    }
    let told: Told = serde_json::from_slice(message).ok()?;
    (told.method == "notifications/progress")
        .then(|| (told.params.progress_token.to_string(), told.params.progress))
}

/// The log cannot be written any longer: the session has ended, or the call is another node's.
struct Lost;

impl Log {
    /// Registers the call, then runs it: what it sends is logged and carried to `client`.
    pub async fn run(
        mut self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        cancel: CancellationToken,
        client: mpsc::Sender<Bytes>,
    ) {
        self.kept = Some(self.board.calls.keep(&self.record.name));
        let (hub, name) = (&self.board.hub, self.record.name.clone());
        let carried = hub.carry(Arc::clone(&self.live), name, hub.number());
        let holder = Holder {
            node: self.node().clone(),
            connection: carried.line.connection,
        };
        self.record.body = self.replay.take().and_then(Replay::into_body);
        let begin = || {
            self.board
                .store
                .call_begin(&self.live.id, &self.record, Some(&holder), self.ttl)
        };
        let begun = self
            .until_answered(self.patience.min(REGISTERED_WITHIN), begin)
            .await;
        match begun {
            Ok(Begun::Begun) => {
                let terms = self.terms();
                let store = Arc::clone(&self.board.store);
                let carrier = Carrier::new(store, self.record.name.clone(), carried, terms, client);
                self.board.supervisor.spawn("carry", carrier.run());
            }
            // Whoever cancelled it wants no answer; a session that is gone can be given none.
            Ok(Begun::Cancelled | Begun::Gone) => cancel.cancel(),
            // The store is away: the client is served as long as its connection lasts, which cannot be taken up again.
            Err(Lost) => return self.without_log(call, outbound, first, client).await,
        }
        let writing = Writing::new(Progress::default(), self.patience, &cancel);
        self.drive(call, outbound, first, writing).await;
    }

    /// Runs a call whose stream could not be registered.
    async fn without_log(
        self,
        mut call: BoxFuture<'static, Finished>,
        mut outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        client: mpsc::Sender<Bytes>,
    ) {
        let tell = async |message: &[u8]| drop(client.send_timeout(event(message), WRITE_WITHIN).await);
        for message in first {
            tell(&message).await;
        }
        let finished = loop {
            tokio::select! {
                biased;
                finished = &mut call => break finished,
                Some(message) = outbound.recv() => tell(&message).await,
            }
        };
        outbound.close();
        while let Some(message) = outbound.recv().await {
            tell(&message).await;
        }
        if let Some(body) = finished.body {
            tell(&body).await;
        }
        // It may have been registered all the same, without this node hearing of it.
        self.take_off().await;
    }

    /// Registers a call that writes to a standing stream, which whoever carries it goes on carrying. [`Self::follow`] runs
    /// it then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn announce(&mut self) -> Result<Begun, StoreError> {
        self.kept = Some(self.board.calls.keep(&self.record.name));
        self.record.body = self.replay.take().and_then(Replay::into_body);
        self.board
            .store
            .call_begin(&self.live.id, &self.record, None, self.ttl)
            .await
    }

    /// Takes a call off that could not be [announced](Self::announce), and was refused: it may be registered all the same.
    pub async fn take_off(self) {
        let (session, name) = (&self.live.id, &self.record.name);
        let end = || {
            let store = &self.board.store;
            store.call_end(session, name, None, self.node(), self.ttl)
        };
        if self.until_answered(self.ttl, end).await.is_err() {
            debug!(
                session = self.live.tag,
                "a call that was not run may still be registered"
            );
        }
    }

    /// Runs a call that was [announced](Self::announce).
    pub async fn follow(
        self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        cancel: CancellationToken,
    ) {
        let writing = Writing::new(Progress::default(), self.patience, &cancel);
        self.drive(call, outbound, Vec::new(), writing).await;
    }

    /// Runs a call that was claimed from a node that died: its stream is there, and whoever carries it is rung.
    pub async fn resume(
        self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        cancel: CancellationToken,
    ) {
        let writing = Writing::new(Progress::told(&self).await, self.patience, &cancel);
        self.drive(call, outbound, Vec::new(), writing).await;
    }

    /// Runs the call and writes what it sends, side by side: the call goes on, and with it its bounds, while an event waits
    /// to be written.
    async fn drive(
        self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        writing: Writing,
    ) {
        let done = CancellationToken::new();
        let run = async {
            let finished = call.await;
            done.cancel();
            finished
        };
        let (finished, ()) = tokio::join!(run, self.write(outbound, first, writing, &done));
        self.end(finished.body.as_deref()).await;
    }

    /// Writes what a call sends until it is done, and looks what came for it.
    async fn write(
        &self,
        mut outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        mut writing: Writing,
        done: &CancellationToken,
    ) {
        for message in first {
            self.log(&message, &mut writing).await;
        }
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        loop {
            tokio::select! {
                biased;
                () = done.cancelled() => break,
                _ = looks.tick() => self.look_after(&writing).await,
                Some(message) = outbound.recv() => self.log(&message, &mut writing).await,
            }
        }
        // What the call sent is told before its end; what a task of it that goes on would send now is not.
        outbound.close();
        while let Some(message) = outbound.recv().await {
            self.log(&message, &mut writing).await;
        }
    }

    /// Appends what a call sends. When that is of no use any longer, the call is told to stop.
    async fn log(&self, message: &[u8], writing: &mut Writing) {
        if !writing.open || writing.told.covers(message) {
            return;
        }
        writing.steps += 1;
        let step = Step {
            call: &self.record.name,
            run: &writing.run,
            number: writing.steps,
        };
        let data = String::from_utf8_lossy(message);
        let (session, stream) = (&self.live.id, &self.record.stream);
        let append = || {
            self.until_answered(writing.patience, || {
                self.board
                    .store
                    .append(session, stream, &data, self.node(), Some(step), self.ttl)
            })
        };
        let mut appended = append().await;
        if matches!(appended, Ok(Appended::Gone)) && self.begin_again().await {
            appended = append().await;
        }
        match appended {
            Ok(Appended::At { number, holder }) => {
                writing.patience = self.patience;
                self.offer(number, &data, holder.as_ref(), false);
                self.wait_for_client(number, holder).await;
            }
            Ok(Appended::Gone) => {
                writing.open = false;
                writing.cancel.cancel();
            }
            // The call goes on: what it answers may be told once the store is back.
            Err(Lost) => {
                writing.patience = Duration::ZERO;
                if let Some(question) = question_in(message) {
                    refuse(&self.board, &self.live, &question, "the store is out of reach");
                }
            }
        }
    }

    /// Looks what came for the call. When it is another node's by now, it is told to stop.
    async fn look_after(&self, writing: &Writing) {
        let found = self.board.look_after(&self.live.id, &self.record.name).await;
        if found == Found::Gone && !self.begin_again().await {
            writing.cancel.cancel();
        }
    }

    /// Registers the call once more: a Redis that takes over may not have heard of it. False when it is another node's, or
    /// the session is gone.
    async fn begin_again(&self) -> bool {
        let line = self.board.hub.line(&self.live.id, &self.record.stream);
        let holder = line
            .filter(|_| self.record.name == self.record.stream)
            .map(|line| Holder {
                node: self.node().clone(),
                connection: line.connection,
            });
        let begin = || {
            let store = &self.board.store;
            store.call_begin(&self.live.id, &self.record, holder.as_ref(), self.ttl)
        };
        matches!(self.until_answered(self.patience, begin).await, Ok(Begun::Begun))
    }

    /// Keeps a call from running ahead of the client to which this node writes, or the log would drop what the client has
    /// not read. One that does not read at all is closed after [`SLOW_CLIENT`].
    async fn wait_for_client(&self, number: u64, holder: Option<Holder>) {
        let line = self.board.hub.line(&self.live.id, &self.record.stream);
        let carries = |line: &Arc<Line>| {
            holder.is_some_and(|holder| holder.node == *self.node() && holder.connection == line.connection)
        };
        if let Some(line) = line.filter(carries) {
            let near = number.saturating_sub(AHEAD_EVENTS_MAX);
            drop(timeout(SLOW_CLIENT, line.reached(near)).await);
        }
    }

    async fn end(&self, response: Option<&[u8]>) {
        let data = response.map(String::from_utf8_lossy);
        let (session, call, stream) = (&self.live.id, &self.record.name, &self.record.stream);
        let last = call == stream;
        let tries = AtomicU32::new(0);
        let end = || {
            tries.fetch_add(1, Ordering::Relaxed);
            let store = &self.board.store;
            store.call_end(session, call, data.as_deref(), self.node(), self.ttl)
        };
        let mut ended = self.until_answered(self.ttl, end).await;
        // After a second try it may be that the first has ended it.
        let unknown = matches!(ended, Ok(Appended::Gone)) && tries.load(Ordering::Relaxed) == 1;
        if unknown && data.is_some() && self.begin_again().await {
            ended = self.until_answered(self.ttl, end).await;
        }
        match (ended, &data) {
            (Ok(Appended::At { number, holder }), Some(data)) => {
                self.offer(number, data, holder.as_ref(), last);
            }
            // Without a response there is nothing to hand over, but the stream has ended: its carrier looks.
            (Ok(Appended::At { .. }), None) => self.board.hub.ring(session, stream),
            (Ok(Appended::Gone), _) => {
                debug!(
                    session = self.live.tag,
                    "a call ended that was no longer this node's"
                );
                self.board.hub.ring(session, stream);
            }
            (Err(Lost), _) => warn!(
                session = self.live.tag,
                "a call's answer was lost: the store was away too long"
            ),
        }
    }

    fn offer(&self, number: u64, data: &str, holder: Option<&Holder>, last: bool) {
        // Whoever carries the stream on another node has been rung with the append.
        if holder.is_some_and(|holder| holder.node == *self.node()) {
            let event = Event {
                number,
                data: data.to_owned(),
            };
            self.board
                .hub
                .offer(&self.live.id, &self.record.stream, event, last);
        }
    }

    /// Asks the store until it answers, as long as patience lasts.
    async fn until_answered<T, F>(&self, patience: Duration, ask: impl Fn() -> F) -> Result<T, Lost>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let until = Instant::now() + patience;
        let mut pause = AGAIN_AFTER.0;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(StoreError::Unreachable(_)) if Instant::now() < until => {
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AFTER.1);
                }
                Err(error) => {
                    warn!(session = self.live.tag, %error, "a call's stream cannot be written");
                    return Err(Lost);
                }
            }
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            node: self.node().clone(),
            kind: StreamKind::Reply,
            after: 0,
            has_id: false,
            prime: self.live.revision() >= Revision::V2025_11_25,
            note_delivered: false,
            keep_alive: self.keep_alive,
            sessions: self.board.sessions.clone(),
            draining: self.draining.clone(),
            deadline: self.deadline.clone(),
        }
    }

    fn node(&self) -> &NodeId {
        &self.board.node
    }
}
