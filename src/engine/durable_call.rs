//! A reply that any node can carry on: the call is registered, and what it sends goes into a log before it
//! goes to the client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Engine;
use super::calls::CallGuard;
use super::local_streams::{ConnectionGuard, IsLast};
use super::loss;
use super::messages::Found;
use super::question::{RefuseQuestions, question_in, refuse};
use super::running_call::{Finished, RunningCall, give_up, silence};
use super::stream_writer::{Parted, StreamWriter, WriterOptions};
use super::unlogged_stream::UnloggedStream;
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::protocol::error::Refusal;
use crate::session::NodeId;
use crate::store::StoreError;
use crate::store::calls::{Begun, CallRecord};
use crate::store::streams::{Appended, Holder, Step};
use crate::telemetry::metrics::StreamKind;
use crate::telemetry::seldom;

mod ending;
mod stored_request;
mod writing;

pub(crate) use stored_request::StoredRequest;
use writing::{Progress, Writing};

/// How often a call looks for answers without a message: a lost message delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the store may take to register a call, before its client is served without a log.
const REGISTERED_WITHIN: Duration = Duration::from_secs(2);
/// How soon a store that does not answer is asked again, at first and at most.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A call that any node can carry on.
#[derive(Debug)]
pub(crate) struct DurableCall {
    /// The node's engine.
    pub engine: Arc<Engine>,
    /// The session.
    pub cached: Arc<CachedSession>,
    /// The call as it is registered.
    pub record: CallRecord,
    /// When it began here.
    pub began: Instant,
    /// Notified when the handler closes the connection that carries its reply.
    pub close_connection: Arc<Notify>,
    /// Held while this node looks after the call.
    pub(super) kept: Option<CallGuard>,
}

/// The log cannot be written: what the store says of it.
pub(super) struct Lost(&'static str);

/// What the client of a call gets that was to be registered.
#[derive(Debug)]
pub(crate) enum Start {
    /// A stream of events.
    Stream,
    /// Nothing: it has cancelled the call.
    Nothing,
    /// A refusal: its session is gone.
    Refused(Refusal),
}

impl DurableCall {
    /// A call that began just now.
    pub(crate) fn of(engine: &Arc<Engine>, cached: &Arc<CachedSession>, record: CallRecord) -> Self {
        Self {
            engine: Arc::clone(engine),
            cached: Arc::clone(cached),
            record,
            began: Instant::now(),
            close_connection: Arc::default(),
            kept: None,
        }
    }

    /// Registers the call, tells `begun`, then runs it: what it sends is logged and carried to `client`.
    pub(crate) async fn run(
        mut self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        cancel: CancellationToken,
        client: mpsc::Sender<Bytes>,
        begun: oneshot::Sender<Start>,
    ) {
        self.kept = Some(self.engine.calls.keep(&self.record.name));
        let over = CancellationToken::new();
        let _ends = over.clone().drop_guard();
        let (streams, name) = (&self.engine.streams, self.record.name.clone());
        let carried = streams.carry(Arc::clone(&self.cached), name, streams.number());
        let holder = Holder {
            node: self.node().clone(),
            connection: carried.connection.number,
        };
        let begin = || {
            let (session, record) = (&self.cached.id, &self.record);
            self.engine.register(session, record, self.began, Some(&holder))
        };
        let registered = self
            .until_answered(self.engine.patience().min(REGISTERED_WITHIN), begin)
            .await;
        let start = match registered {
            Ok(Begun::Begun) => {
                self.carry(carried, client, cancel.clone(), over);
                Start::Stream
            }
            // A client that cancels a call wants no answer.
            Ok(Begun::Cancelled) => {
                cancel.cancel();
                self.engine.cancel_found(&self.cached.id, &self.record.name).await;
                Start::Nothing
            }
            Ok(Begun::Gone) => {
                cancel.cancel();
                match self.engine.sessions.confirm(&self.cached.id).await {
                    // Another node has claimed it since a first try, whose answer was lost: that one tells
                    // the rest.
                    Ok(()) => {
                        self.carry(carried, client, cancel.clone(), over);
                        Start::Stream
                    }
                    Err(error) => Start::Refused(error.into()),
                }
            }
            // The store is away: the client is served as long as its connection lasts, which cannot be taken
            // up again.
            Err(Lost(why)) => {
                begun.send(Start::Stream).ok();
                return self.without_log(call, outbound, first, cancel, client, why).await;
            }
        };
        begun.send(start).ok();
        let writing = Writing::new(Progress::default(), self.engine.patience(), &cancel);
        self.drive(call, outbound, first, writing).await;
    }

    /// Carries the call's stream to its client, in a task of its own. When the client has gone and cannot
    /// come back, the call is `abandoned`, unless it is `over`.
    fn carry(
        &self,
        carried: ConnectionGuard,
        client: mpsc::Sender<Bytes>,
        abandoned: CancellationToken,
        over: CancellationToken,
    ) {
        let options = WriterOptions {
            draining: self.engine.handing_over().child_token(),
            ..self.options()
        };
        // What sends a client elsewhere also sends away one whose connection the handler closes.
        let (close_connection, leave) = (Arc::clone(&self.close_connection), options.draining.clone());
        let leaving = async move {
            close_connection.notified().await;
            leave.cancel();
            std::future::pending().await
        };
        let engine = Arc::clone(&self.engine);
        let carrier = StreamWriter::new(engine, self.record.name.clone(), carried, options, client);
        self.engine.work.spawn("carry", async move {
            let parted = tokio::select! {
                parted = carrier.run() => parted,
                () = leaving => return,
            };
            if parted == Parted::ForGood {
                over.run_until_cancelled(give_up(&abandoned)).await;
            }
        });
    }

    /// Runs a call whose stream could not be registered, for as long as its client stays: it has no event id
    /// to come back with.
    async fn without_log(
        self,
        call: BoxFuture<'static, Finished>,
        outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        cancel: CancellationToken,
        client: mpsc::Sender<Bytes>,
        why: &'static str,
    ) {
        let unlogged = UnloggedStream {
            running: RunningCall {
                call,
                messages: Some(outbound),
            },
            cancel,
            survives: true,
            kind: StreamKind::Reply,
            keep_alive: self.engine.settings.call.keep_alive,
            // No other node could find the call that waits for the answer.
            questions: Some(RefuseQuestions {
                engine: Arc::clone(&self.engine),
                cached: Arc::clone(&self.cached),
                why,
            }),
        };
        unlogged.write(client, first).await;
        // It may have been registered nevertheless, without this node hearing of it.
        self.take_off().await;
    }

    /// Registers a call that writes to a standing stream. Its carrier stays the same. [`Self::follow`] runs
    /// it then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn register(&mut self) -> Result<Begun, StoreError> {
        self.kept = Some(self.engine.calls.keep(&self.record.name));
        let (session, record) = (&self.cached.id, &self.record);
        self.engine.register(session, record, self.began, None).await
    }

    /// Runs a call that was [registered](Self::register).
    pub(crate) async fn follow(self, running: RunningCall, cancel: CancellationToken) {
        // A node that was held up just now may have been thought dead: then another runs the call.
        if !self.engine.membership.is_valid()
            && self.engine.read_inbox(&self.cached.id, &self.record.name).await == Found::Gone
        {
            return debug!(
                session = self.cached.tag,
                "a call is another node's before it was run"
            );
        }
        let writing = Writing::new(Progress::default(), self.engine.patience(), &cancel);
        let messages = running.messages.unwrap_or_else(silence);
        self.drive(running.call, messages, Vec::new(), writing).await;
    }

    /// Runs a call that was claimed from a node that died: its stream is there, and the node that carries it
    /// is told.
    pub(crate) async fn resume(self, running: RunningCall, cancel: CancellationToken) {
        let writing = Writing::new(Progress::told(&self).await, self.engine.patience(), &cancel);
        let messages = running.messages.unwrap_or_else(silence);
        self.drive(running.call, messages, Vec::new(), writing).await;
    }

    /// Runs the call and writes what it sends, side by side: the call goes on, and with it its bounds, while
    /// an event waits to be written.
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
        let (finished, lost) = tokio::join!(run, self.write(outbound, first, writing, &done));
        // There is nobody to be told of the end of a session's calls.
        let body = finished.body.filter(|_| !self.cached.ended.is_cancelled());
        let body = match body {
            Some(body) if lost > 0 => {
                let response = String::from_utf8_lossy(&body);
                let words = "messages of a call are lost: its client is told so";
                seldom(words, |left_out| {
                    warn!(session = self.cached.tag, lost, left_out, "{words}")
                });
                Some(loss::instead_of(&response, lost, &loss::outage(self.engine.patience())).into())
            }
            body => body,
        };
        self.end(body.as_deref()).await;
    }

    /// Writes what a call sends until it is done, and looks what came for it. Returns how many messages are
    /// lost.
    async fn write(
        &self,
        mut outbound: mpsc::Receiver<Bytes>,
        first: Vec<Bytes>,
        mut writing: Writing,
        done: &CancellationToken,
    ) -> u64 {
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
                _ = looks.tick() => self.read_inbox(&writing).await,
                Some(message) = outbound.recv() => self.log(&message, &mut writing).await,
            }
        }
        // What the call sent is told before its end; what a task of it that goes on would send now is not.
        outbound.close();
        while let Some(message) = outbound.recv().await {
            self.log(&message, &mut writing).await;
        }
        writing.lost
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
        let (session, stream) = (&self.cached.id, &self.record.stream);
        let ttl = if stream.is_session_stream() {
            self.engine.stream_ttl()
        } else {
            self.engine.session_ttl()
        };
        let append = || {
            self.until_answered(writing.patience, || {
                self.engine
                    .store
                    .append(session, stream, &data, self.node(), Some(step), ttl)
            })
        };
        let mut appended = append().await;
        if matches!(appended, Ok(Appended::Gone)) {
            appended = match self.register_again(writing.patience).await {
                Ok(true) => append().await,
                Ok(false) => appended,
                Err(lost) => Err(lost),
            };
        }
        match appended {
            Ok(Appended::At { number, holder }) => {
                writing.patience = self.engine.patience();
                self.engine
                    .offer(session, stream, holder.as_ref(), (number, &data), IsLast::No);
            }
            Ok(Appended::Gone) => {
                writing.open = false;
                writing.cancel.cancel();
            }
            // The call goes on: what it answers may be told once the store is back.
            Err(Lost(why)) => {
                writing.patience = Duration::ZERO;
                match question_in(message) {
                    Some(question) => refuse(&self.engine, &self.cached, &question, why),
                    None => writing.lost += 1,
                }
            }
        }
    }

    /// Takes what came for the call. When it is another node's by now, it is told to stop. A store that does not
    /// answer says nothing of that: the call goes on, and the next look asks again.
    async fn read_inbox(&self, writing: &Writing) {
        let look = || self.engine.read_inbox(&self.cached.id, &self.record.name);
        if look().await != Found::Gone {
            return;
        }
        match self.register_again(Duration::ZERO).await {
            // Answers may have come while the store did not know it.
            Ok(true) if look().await != Found::Gone => {}
            Ok(_) => writing.cancel.cancel(),
            Err(Lost(_)) => {}
        }
    }

    /// Registers the call once more: a Redis that takes over may not have heard of it. False when it is
    /// another node's or cancelled, or the session is gone.
    ///
    /// # Errors
    /// [`Lost`] when the store did not answer within `patience`.
    async fn register_again(&self, patience: Duration) -> Result<bool, Lost> {
        let connection = self
            .engine
            .streams
            .connection(&self.cached.id, &self.record.stream);
        let holder = connection
            .filter(|_| self.record.name == self.record.stream)
            .map(|connection| Holder {
                node: self.node().clone(),
                connection: connection.number,
            });
        let begin = || {
            let (session, record) = (&self.cached.id, &self.record);
            self.engine.register(session, record, self.began, holder.as_ref())
        };
        match self.until_answered(patience, begin).await? {
            Begun::Begun => Ok(true),
            Begun::Gone => {
                let refusal = self.engine.session_gone(&self.cached).await;
                debug!(
                    session = self.cached.tag,
                    why = refusal.label(),
                    "a call is not this node's any longer"
                );
                Ok(false)
            }
            Begun::Cancelled => {
                let (session, name) = (&self.cached.id, &self.record.name);
                Box::pin(self.engine.cancel_found(session, name)).await;
                Ok(false)
            }
        }
    }

    /// Asks the store until it answers, as long as patience lasts.
    pub(super) async fn until_answered<T, F>(
        &self,
        patience: Duration,
        ask: impl Fn() -> F,
    ) -> Result<T, Lost>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let until = Instant::now() + patience;
        let mut pause = AGAIN_AFTER.0;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.may_pass() && Instant::now() < until => {
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AFTER.1);
                }
                Err(error) => {
                    let words = "a call's stream cannot be written";
                    seldom(words, |left_out| {
                        warn!(session = self.cached.tag, error = %causes(&error), left_out, "{words}");
                    });
                    return Err(Lost(error.words()));
                }
            }
        }
    }

    fn options(&self) -> WriterOptions {
        WriterOptions {
            kind: StreamKind::Reply,
            after: 0,
            has_id: false,
            prime: self.cached.revision().primes(),
            note_delivered: false,
            draining: self.engine.handing_over(),
            // A call that was let in may finish.
            until: None,
        }
    }

    fn node(&self) -> &NodeId {
        &self.engine.node
    }
}
