//! Looks after the calls of nodes that died: each is claimed by one survivor, and run again if that is safe,
//! or else answered by an error that says what is known.

use std::collections::HashSet;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream;
use futures::{StreamExt as _, TryStreamExt as _};
use rmcp::ErrorData;
use rmcp::model::{ErrorCode, RequestId};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error_span, info, warn};

use super::Engine;
use super::dispatch::Run;
use super::durable_call::{DurableCall, StoredRequest};
use super::local_streams::IsLast;
use super::messages::Found;
use super::request::RequestMeta;
use super::running_call::RunningCall;
use crate::causes::causes;
use crate::cluster::{CachedSession, SessionError};
use crate::protocol::error::{CODE_TRANSPORT, Refusal, error_body};
use crate::protocol::message::{Body, Message};
use crate::random::HashState;
use crate::session::{NodeId, SessionId};
use crate::store::StoreError;
use crate::store::calls::{CallEnded, CallRecord};
use crate::store::streams::{BEYOND_ALL, Read, StreamId};
use crate::telemetry::metrics::{self, Takeover, method_label};
use crate::telemetry::seldom;

/// How often survivors look for nodes whose lease has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a node looks for calls that are its own and that it does not run.
const ORPHANS_EVERY: Duration = Duration::from_secs(5);
/// How many calls are claimed at once.
const CLAIMS_AT_ONCE: usize = 16;
/// How often it is tried to answer a call that was taken over.
const ANSWER_ATTEMPTS_MAX: u32 = 60;

/// Looks after the dead, for as long as the node runs and does not leave.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut orphans, mut orphans_at) = (Orphans::default(), Instant::now() + ORPHANS_EVERY);
    loop {
        ticks.tick().await;
        if engine.stopping.leaving.is_cancelled() {
            continue;
        }
        let dead = match engine.membership.dead(&*engine.store).await {
            Ok(dead) => dead,
            Err(error) => {
                debug!(error = %causes(&error), "could not look for nodes that died");
                continue;
            }
        };
        if !engine.membership.can_judge() {
            continue;
        }
        if let Err(error) = take_over_from(&engine, dead).await {
            debug!(error = %causes(&error), "could not look after nodes that died");
        }
        if Instant::now() >= orphans_at {
            orphans_at = Instant::now() + ORPHANS_EVERY;
            if let Err(error) = take_over_orphans(&engine, &mut orphans).await {
                debug!(error = %causes(&error), "could not look after calls that nobody runs");
            }
        }
    }
}

/// Takes over what this node itself left behind when it ran before under the same name.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn reclaim_own(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let calls = engine.store.calls_of(&engine.node).await?;
    take_over(engine, &engine.node, calls).await.map(drop)
}

async fn take_over_from(engine: &Arc<Engine>, dead: Vec<NodeId>) -> Result<(), StoreError> {
    for node in dead.into_iter().filter(|node| *node != engine.node) {
        let calls = engine.store.calls_of(&node).await?;
        // It may be back under its name by now: then calls of its new life may be among these, and it looks
        // after those of its former one itself.
        let nodes = slice::from_ref(&node);
        if engine
            .membership
            .dead_among(&*engine.store, nodes)
            .await?
            .is_empty()
        {
            continue;
        }
        // Calls that are left are those of a newer version: nodes of that version find them by the dead node.
        if take_over(engine, &node, calls).await? == Taken::All {
            engine.store.forget(&node).await?;
        }
    }
    Ok(())
}

/// Whether all calls of a node have been looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    All,
    NotAll,
}

async fn take_over(engine: &Arc<Engine>, from: &NodeId, calls: Vec<NamedCall>) -> Result<Taken, StoreError> {
    let claimed = &AtomicUsize::new(0);
    let claims = calls
        .into_iter()
        .map(|(session, call)| async move { claim(engine, session, &call, from, claimed).await });
    let taken: Result<Vec<Taken>, StoreError> = stream::iter(claims)
        .buffer_unordered(CLAIMS_AT_ONCE)
        .try_collect()
        .await;
    // One line for all: a node may leave ten thousand.
    let calls = claimed.load(Ordering::Relaxed);
    if calls > 0 {
        let words = match *from == engine.node {
            true => "took over calls that this node no longer ran",
            false => "took over calls of a lost node",
        };
        info!(node = %engine.node, from = %from, calls, "{words}");
    }
    match taken?.contains(&Taken::NotAll) {
        true => Ok(Taken::NotAll),
        false => Ok(Taken::All),
    }
}

/// A call by its session and its name.
type NamedCall = (SessionId, StreamId);

/// Calls that are registered as this node's, and that it does not run.
type Orphans = HashSet<NamedCall, HashState>;

/// Looks after calls that are registered as this node's, and that it does not run: it has claimed or
/// registered them without hearing of it. Those that were `orphans` at the last look too are taken over.
async fn take_over_orphans(engine: &Arc<Engine>, orphans: &mut Orphans) -> Result<(), StoreError> {
    let registered = engine.store.calls_of(&engine.node).await?.into_iter();
    let now: Orphans = registered.filter(|(_, call)| !engine.calls.keeps(call)).collect();
    let before = std::mem::replace(orphans, now);
    let orphans = before.intersection(orphans).cloned().collect();
    take_over(engine, &engine.node, orphans).await.map(drop)
}

/// Claims a call for this node, and has it answered. Counts it in `claimed`.
async fn claim(
    engine: &Arc<Engine>,
    session: SessionId,
    call: &StreamId,
    from: &NodeId,
    claimed: &AtomicUsize,
) -> Result<Taken, StoreError> {
    let kept = engine.calls.keep(call);
    let record = match engine.store.claim(&session, call, from, &engine.node).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Taken::All),
        Err(error) if error.may_pass() => return Err(error),
        Err(error @ StoreError::Newer(_)) => {
            debug!(
                session = session.tag(),
                from = %from,
                error = %causes(&error),
                "a call of a lost node is left to another node"
            );
            return Ok(Taken::NotAll);
        }
        // One that cannot be read does not keep the others waiting.
        Err(error) => {
            let words = "a call of a lost node cannot be taken over";
            seldom(words, |left_out| {
                warn!(session = session.tag(), from = %from, error = %causes(&error), left_out, "{words}");
            });
            metrics::call_taken_over(Takeover::Failed);
            return Ok(Taken::All);
        }
    };
    let method = method_label(&record.method);
    debug!(session = session.tag(), node = %engine.node, from = %from, method, "took over a call");
    claimed.fetch_add(1, Ordering::Relaxed);
    let (engine, work) = (Arc::clone(engine), engine.work.clone());
    let span = error_span!("take-over", node = %engine.node, session = session.tag(), from = %from);
    let carried = async move {
        carry_through(&engine, &session, record).await;
        drop(kept);
    };
    work.spawn("take-over", carried.instrument(span));
    Ok(Taken::All)
}

/// Whether a call that was taken over has been looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Done,
    /// Not yet: there is no room for it, or it is not known whether it is this node's still.
    Later,
}

/// Answers a call that was taken over. Nobody else will, so a store that is away is waited for, and so is
/// room.
async fn carry_through(engine: &Arc<Engine>, session: &SessionId, record: CallRecord) {
    for _ in 0..ANSWER_ATTEMPTS_MAX {
        match answer(engine, session, &record).await {
            Ok(Attempt::Done) => return,
            Ok(Attempt::Later) => {}
            Err(error) => {
                debug!(session = session.tag(), error = %causes(&error), "a call of a lost node is not answered yet")
            }
        }
        sleep(LOOK_EVERY).await;
    }
    if let Err(error) = give_up(engine, session, &record).await {
        let words = "a call of a lost node is left unanswered";
        seldom(words, |left_out| {
            warn!(session = session.tag(), error = %causes(&error), left_out, "{words}");
        });
        metrics::call_taken_over(Takeover::Failed);
    }
}

async fn answer(
    engine: &Arc<Engine>,
    session: &SessionId,
    record: &CallRecord,
) -> Result<Attempt, SessionError> {
    let Some(cached) = engine.sessions.recall(session).await? else {
        metrics::call_taken_over(Takeover::Unawaited);
        return Ok(Attempt::Done);
    };
    // Of one that is not awaited only its questions were in the session's stream, and its client, if there
    // was one, has lost its connection.
    if record.cancelled || !record.is_awaited() {
        end_unanswered(engine, &cached, record).await?;
        metrics::call_taken_over(Takeover::Unawaited);
        return Ok(Attempt::Done);
    }
    if let Some(body) = record.body.clone()
        && can_come_back(engine, &cached, record).await?
    {
        return Ok(run_again(engine, &cached, record, &body).await?);
    }
    end_as_lost(engine, &cached, record).await?;
    Ok(Attempt::Done)
}

/// Ends a call that could not be run again in all that time.
async fn give_up(engine: &Engine, session: &SessionId, record: &CallRecord) -> Result<(), SessionError> {
    match engine.sessions.recall(session).await? {
        Some(cached) => Ok(end_as_lost(engine, &cached, record).await?),
        None => Ok(()),
    }
}

/// Answers a call by an error: what came of it is not known.
async fn end_as_lost(engine: &Engine, cached: &CachedSession, record: &CallRecord) -> Result<(), StoreError> {
    let (error, ttl) = (lost(record), engine.stream_ttl());
    let (session, name, stream) = (&cached.id, &record.name, &record.stream);
    let end = engine
        .store
        .call_end(session, name, stream, Some(&error), &engine.node, ttl);
    let ended = end.await?;
    // Another node has claimed it meanwhile, and counts it.
    if ended != CallEnded::Gone {
        metrics::call_taken_over(Takeover::Lost);
    }
    if let CallEnded::Answered { number, holder } = ended {
        engine.offer(
            session,
            stream,
            holder.as_ref(),
            (number, &error),
            IsLast::of(record),
        );
    }
    Ok(())
}

/// Whether the call's client can have an event id to come back with: it was given one at once, or with the
/// first event. One that cannot may still be connected to a node that only was slow.
async fn can_come_back(
    engine: &Engine,
    cached: &CachedSession,
    record: &CallRecord,
) -> Result<bool, StoreError> {
    if record.stream != record.name || cached.revision().primes() {
        return Ok(true);
    }
    let read = engine.store.read(&cached.id, &record.stream, BEYOND_ALL).await?;
    Ok(matches!(read, Read::Events { head: 1.., .. }))
}

/// Ends a call that nobody waits for.
async fn end_unanswered(
    engine: &Engine,
    cached: &CachedSession,
    record: &CallRecord,
) -> Result<(), StoreError> {
    let ttl = engine.stream_ttl();
    let ended = engine
        .store
        .call_end(&cached.id, &record.name, &record.stream, None, &engine.node, ttl);
    if ended.await? != CallEnded::Gone {
        engine.streams.wake(&cached.id, &record.stream);
    }
    Ok(())
}

/// The answer to a call that must not be run twice.
fn lost(record: &CallRecord) -> String {
    let id: Option<RequestId> = serde_json::from_str(&record.request).ok();
    let words = "node lost, outcome unknown: the call may or may not have taken effect, and is not repeated because \
                 that might not be safe. Look before you try again";
    let error = ErrorData::new(ErrorCode(CODE_TRANSPORT), words, None);
    String::from_utf8_lossy(&error_body(id.as_ref(), &error)).into_owned()
}

/// Runs a call again, with its answer on the same stream.
async fn run_again(
    engine: &Arc<Engine>,
    cached: &Arc<CachedSession>,
    record: &CallRecord,
    stored: &str,
) -> Result<Attempt, StoreError> {
    // This node may have been held up since it has claimed the call, or have lost the store, and another may
    // have claimed the call in its turn.
    match engine.read_inbox(&cached.id, &record.name).await {
        Found::Here if engine.membership.is_valid() => {}
        Found::Gone => {
            debug!(
                session = cached.tag,
                "a call that was taken over is another node's by now"
            );
            return Ok(Attempt::Done);
        }
        Found::Here | Found::Unknown => return Ok(Attempt::Later),
    }
    let cancel = CancellationToken::new();
    match begin_again(engine, cached, record, stored, &cancel).await {
        Ok(running) => {
            metrics::call_taken_over(Takeover::RunAgain);
            DurableCall::of(engine, cached, record.clone())
                .resume(running, cancel)
                .await;
            Ok(Attempt::Done)
        }
        Err(Refusal::TooMany(why)) => {
            debug!(session = cached.tag, why, "a call of a lost node waits for room");
            Ok(Attempt::Later)
        }
        Err(refusal) => {
            let (reason, words) = (refusal.label(), "a call of a lost node could not be run again");
            seldom(words, |left_out| {
                warn!(session = cached.tag, reason, left_out, "{words}")
            });
            end_as_lost(engine, cached, record).await?;
            engine.streams.wake(&cached.id, &record.stream);
            Ok(Attempt::Done)
        }
    }
}

/// Gets another run of a call ready, from what was kept of its request.
async fn begin_again(
    engine: &Arc<Engine>,
    cached: &Arc<CachedSession>,
    record: &CallRecord,
    stored: &str,
    cancel: &CancellationToken,
) -> Result<RunningCall, Refusal> {
    const UNREADABLE: Refusal = Refusal::NotAMessage("a kept request cannot be read");
    let stored = StoredRequest::decode(stored).ok_or(UNREADABLE)?;
    let Body::One(Message::Request(request)) =
        Body::parse(stored.request().as_bytes()).map_err(|unreadable| unreadable.refusal)?
    else {
        return Err(UNREADABLE);
    };
    let meta = RequestMeta::read(request.params)?;
    let requester = stored.requester(&cached.record.principal, &engine.shares);
    let (name, now_ms) = (record.name.clone(), engine.now_ms());
    let run = Run::again(name, requester, cancel.clone(), now_ms);
    engine.begin(cached, request, meta, run).await
}
