//! Carries what a handler sends outside a reply to the session's standing stream. The client's answers come
//! back from any node.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmcp::model::RequestId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::debug;

use super::Engine;
use super::calls::CallGuard;
use super::loss;
use super::messages::Found;
use super::question::{question_in, refuse};
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::store::StoreError;
use crate::store::calls::{Begun, CallRecord};
use crate::store::streams::{Appended, holder_of};

mod routes;

pub(crate) use routes::{ClientPeers, WithinReply, beside_reply, outside, within_reply};

/// How often answers are looked for without a message: a lost message delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon a loss is reported again when the store did not take the report.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// How long a question waits for a client that is about to open its stream, or opens it again.
const STREAM_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks whether the stream is there.
const STREAM_LOOK_EVERY: Duration = Duration::from_millis(50);

/// What happens to messages while nobody carries the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutStream {
    /// They are kept for the client's next stream.
    Keep,
    /// Notifications are dropped, and questions answered by an error: a client that wants single bodies may
    /// never open a stream.
    Refuse,
}

/// Sends messages to a session outside its replies.
#[derive(Debug)]
pub(crate) struct SessionOutbox {
    engine: Arc<Engine>,
    cached: Arc<CachedSession>,
    /// The call that sends them; it writes to the session's standing stream.
    record: CallRecord,
    /// When the call began.
    began: Instant,
    /// What happens to messages that nobody receives.
    without_stream: WithoutStream,
    /// Where messages go instead of the session's standing stream: into a reply whose stream is not logged.
    reply: Option<mpsc::Sender<Bytes>>,
}

impl SessionOutbox {
    /// The outbox of a call, which begins now.
    fn of(
        engine: &Arc<Engine>,
        cached: &Arc<CachedSession>,
        record: CallRecord,
        without_stream: WithoutStream,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            cached: Arc::clone(cached),
            record,
            began: Instant::now(),
            without_stream,
            reply: None,
        }
    }

    /// Sends what comes out of `messages`, until all senders are gone, or `end`.
    pub(crate) async fn run(self, mut messages: mpsc::Receiver<Bytes>, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        // Held once other nodes know of the call, so that answers find it.
        let mut known = None;
        let mut lost = 0;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(message) if self.send(&message, &mut known, &mut lost).await.is_continue() => {}
                    Some(_) | None => break,
                },
                () = &mut end => break,
                _ = looks.tick(), if known.is_some() || lost > 0 => {
                    self.tell_loss(&mut lost).await;
                    if known.is_some() && !self.read_inbox().await {
                        known = None;
                        self.refuse_open();
                    }
                }
            }
        }
        messages.close();
        while let Some(message) = messages.recv().await {
            if self.send(&message, &mut known, &mut lost).await.is_break() {
                break;
            }
        }
        let until = Instant::now() + self.engine.patience();
        self.tell_loss(&mut lost).await;
        while lost > 0 && Instant::now() < until {
            // A node that leaves does not wait for that.
            if self
                .engine
                .stopping
                .leaving
                .run_until_cancelled(sleep(TELL_AGAIN))
                .await
                .is_none()
            {
                break;
            }
            self.tell_loss(&mut lost).await;
        }
        if known.is_some() {
            let (session, call, stream) = (&self.cached.id, &self.record.name, &self.record.stream);
            let ended = self
                .engine
                .store
                .call_end(
                    session,
                    call,
                    stream,
                    None,
                    &self.engine.node,
                    self.engine.stream_ttl(),
                )
                .await;
            if let Err(error) = ended {
                debug!(session = self.cached.tag, error = %causes(&error), "could not unregister an outbox call");
            }
        }
    }

    /// Reports lost messages to the client before the next message: a gap is never silent.
    async fn tell_loss(&self, lost: &mut u64) {
        if *lost == 0 {
            return;
        }
        let notice = loss::notice(*lost, "the session store was out of reach");
        match self.engine.send_outside_calls(&self.cached, &notice).await {
            Ok(_) => *lost = 0,
            Err(error) => {
                debug!(session = self.cached.tag, error = %causes(&error), "could not report a loss yet")
            }
        }
    }

    async fn begin(&self) -> Result<Begun, StoreError> {
        let (session, record) = (&self.cached.id, &self.record);
        self.engine.register(session, record, self.began, None).await
    }

    /// Reads what came for the call. A store that took over may not know the call; then it is registered once
    /// more. False when the call is no longer this node's.
    async fn read_inbox(&self) -> bool {
        let look = || self.engine.read_inbox(&self.cached.id, &self.record.name);
        if look().await != Found::Gone {
            return true;
        }
        match self.begin().await {
            Ok(Begun::Begun) => look().await != Found::Gone,
            Ok(Begun::Cancelled | Begun::Gone) => false,
            Err(error) => {
                debug!(session = self.cached.tag, error = %causes(&error), "a call is registered again later");
                true
            }
        }
    }

    /// Refuses the open requests: another node has taken this call for lost, so answers no longer find it.
    fn refuse_open(&self) {
        let call = &self.record.name;
        for number in self.engine.calls.open_requests(&self.cached.id, call) {
            let id = RequestId::String(format!("{}-{number}", call.as_str()).into());
            let why = "the client's answer cannot come any longer: this node had lost the session store";
            refuse(&self.engine, &self.cached, &id, why);
        }
    }

    /// Sends one message. Breaks when the session is gone.
    async fn send(&self, message: &[u8], known: &mut Option<CallGuard>, lost: &mut u64) -> ControlFlow<()> {
        let question = question_in(message);
        self.tell_loss(lost).await;
        if *lost > 0 && question.is_none() {
            // This message cannot be sent either.
            *lost += 1;
            return ControlFlow::Continue(());
        }
        let sending = async {
            if self.without_stream == WithoutStream::Refuse && !self.has_stream(question.is_some()).await? {
                return Ok(SendOutcome::NoStream);
            }
            if question.is_some() && known.is_none() {
                let kept = self.engine.calls.keep(&self.record.name);
                match self.begin().await? {
                    Begun::Begun => *known = Some(kept),
                    Begun::Cancelled => return Ok(SendOutcome::Gone),
                    Begun::Gone => {
                        let refusal = self.engine.session_gone(&self.cached).await;
                        debug!(
                            session = self.cached.tag,
                            why = refusal.label(),
                            "a question for a session that is gone"
                        );
                        return Ok(SendOutcome::Gone);
                    }
                }
            }
            if let Some(reply) = &self.reply {
                let told = reply.send(Bytes::copy_from_slice(message)).await;
                return Ok(told.map_or(SendOutcome::Gone, |()| SendOutcome::Sent));
            }
            let text = String::from_utf8_lossy(message);
            Ok(match self.engine.send_outside_calls(&self.cached, &text).await? {
                Appended::At { .. } => SendOutcome::Sent,
                Appended::Gone => SendOutcome::Gone,
            })
        };
        let outcome: Result<SendOutcome, StoreError> = sending.await;
        let over = matches!(outcome, Ok(SendOutcome::Gone));
        let why = match outcome {
            Ok(SendOutcome::Sent) => return ControlFlow::Continue(()),
            Ok(SendOutcome::NoStream) => {
                Cow::Borrowed("the client has no stream open on which it could be asked")
            }
            Ok(SendOutcome::Gone) => "the session has ended, or the call was cancelled".into(),
            Err(error) => {
                debug!(session = self.cached.tag, error = %causes(&error), "a message beside a reply was lost");
                *lost += u64::from(question.is_none());
                format!("the client could not be asked: {}", error.words()).into()
            }
        };
        if let Some(id) = question {
            refuse(&self.engine, &self.cached, &id, why);
        }
        match over {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Whether somebody carries the session's stream. For a question it waits a moment.
    async fn has_stream(&self, waits: bool) -> Result<bool, StoreError> {
        let until = Instant::now() + if waits { STREAM_WITHIN } else { Duration::ZERO };
        let (session, stream) = (&self.cached.id, &self.record.stream);
        loop {
            if self.engine.streams.carries(session, stream)
                || holder_of(&*self.engine.store, session, stream).await?.is_some()
            {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            sleep(STREAM_LOOK_EVERY).await;
        }
    }
}

/// What became of a message.
enum SendOutcome {
    Sent,
    /// Nobody carries the session's stream.
    NoStream,
    /// The session has ended, or the call was cancelled.
    Gone,
}
