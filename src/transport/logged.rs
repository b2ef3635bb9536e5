//! A reply that any node can carry on: the call is registered, and what it sends goes into a log before it goes to the
//! client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::carrier::{Carrier, Terms};
use super::handler::Handler;
use super::reply::{Finished, WRITE_WITHIN, event};
use super::switchboard::Switchboard;
use crate::cluster::Live;
use crate::protocol::era::Revision;
use crate::session::NodeId;
use crate::store::StoreError;
use crate::store::streams::{Appended, Begun, CallRecord, Event, Holder, REPLAY_BYTES_MAX, Read};
use crate::telemetry::metrics::StreamKind;

/// How often a call looks for answers though nobody rang: a lost ring delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the store may take to register a call, before its client is served without a log.
const REGISTERED_WITHIN: Duration = Duration::from_secs(2);
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
    /// Fires when the handler lets go of the connection that carries its reply.
    pub let_go: CancellationToken,
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
                let terms = Terms {
                    draining: self.draining.child_token(),
                    ..self.terms()
                };
                // What sends a client elsewhere also sends away one whose connection the handler lets go of.
                let (let_go, leave) = (self.let_go.clone(), terms.draining.clone());
                let leaving = async move {
                    let_go.cancelled().await;
                    leave.cancel();
                    std::future::pending().await
                };
                let store = Arc::clone(&self.board.store);
                let carrier = Carrier::new(store, self.record.name.clone(), carried, terms, client);
                self.board.supervisor.spawn("carry", async move {
                    tokio::select! {
                        () = carrier.run() => {}
                        () = leaving => {}
                    }
                });
            }
            // Whoever cancelled it wants no answer; a session that is gone can be given none.
            Ok(Begun::Cancelled | Begun::Gone) => cancel.cancel(),
            // The store is away: the client is served as long as its connection lasts, which cannot be taken up again.
            Err(Lost) => return self.without_log(call, outbound, first, client).await,
        }
        self.drive(call, outbound, first, Progress::default(), &cancel)
            .await;
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
        let (session, name) = (&self.live.id, &self.record.name);
        if let Err(error) = self
            .board
            .store
            .call_end(session, name, None, self.node(), self.ttl)
            .await
        {
            debug!(session = self.live.tag, %error, "a call that was served without a log may still be registered");
        }
    }

    /// Registers a call that writes to a standing stream, which whoever carries it goes on carrying. [`Self::follow`] runs
    /// it then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn announce(&mut self) -> Result<Begun, StoreError> {
        self.record.body = self.replay.take().and_then(Replay::into_body);
        self.board
            .store
            .call_begin(&self.live.id, &self.record, None, self.ttl)
            .await
    }

    /// Runs a call that was [announced](Self::announce).
    pub async fn follow(
        self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        cancel: CancellationToken,
    ) {
        self.drive(call, outbound, Vec::new(), Progress::default(), &cancel)
            .await;
    }

    /// Runs a call that was claimed from a node that died: its stream is there, and whoever carries it is rung.
    pub async fn resume(
        self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        cancel: CancellationToken,
    ) {
        let told = Progress::told(&self).await;
        self.drive(call, outbound, Vec::new(), told, &cancel).await;
    }

    async fn drive(
        self,
        mut call: BoxFuture<'static, Finished>,
        mut outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        told: Progress,
        cancel: &CancellationToken,
    ) {
        let mut writable = !cancel.is_cancelled();
        for message in first {
            self.log(&message, &mut writable, cancel).await;
        }
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        let finished = loop {
            tokio::select! {
                biased;
                finished = &mut call => break finished,
                _ = looks.tick() => self.board.take_answers(&self.live.id, &self.record.name).await,
                Some(message) = outbound.recv() => {
                    if !told.covers(&message) {
                        self.log(&message, &mut writable, cancel).await;
                    }
                }
            }
        };
        outbound.close();
        while let Some(message) = outbound.recv().await {
            if !told.covers(&message) {
                self.log(&message, &mut writable, cancel).await;
            }
        }
        self.end(finished.body.as_deref()).await;
    }

    /// Appends what a call sends. When that is of no use any longer, the call is told to stop.
    async fn log(&self, message: &[u8], writable: &mut bool, cancel: &CancellationToken) {
        if !*writable {
            return;
        }
        let data = String::from_utf8_lossy(message);
        let (session, stream) = (&self.live.id, &self.record.stream);
        let appended = self
            .until_answered(self.patience, || {
                self.board
                    .store
                    .append(session, stream, &data, self.node(), self.ttl)
            })
            .await;
        match appended {
            Ok(Appended::At { number, holder }) => self.offer(number, &data, holder, false),
            Ok(Appended::Gone) | Err(Lost) => {
                *writable = false;
                cancel.cancel();
            }
        }
    }

    async fn end(&self, response: Option<&[u8]>) {
        let data = response.map(String::from_utf8_lossy);
        let (session, call, stream) = (&self.live.id, &self.record.name, &self.record.stream);
        let last = call == stream;
        let ended = self
            .until_answered(self.ttl, || {
                self.board
                    .store
                    .call_end(session, call, data.as_deref(), self.node(), self.ttl)
            })
            .await;
        match (ended, &data) {
            (Ok(Appended::At { number, holder }), Some(data)) => self.offer(number, data, holder, last),
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

    fn offer(&self, number: u64, data: &str, holder: Option<Holder>, last: bool) {
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
            prime: self.live.revision() >= Revision::V2025_11_25,
            note_delivered: false,
            keep_alive: self.keep_alive,
            ttl: self.ttl,
            draining: self.draining.clone(),
        }
    }

    fn node(&self) -> &NodeId {
        &self.board.node
    }
}
