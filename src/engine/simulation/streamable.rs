//! Simulated clients of Streamable HTTP with a session: revisions from 2025-03-26 to 2025-11-25.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{AskedRequest, KnownUpdates, SHARED, SimulatedClient, SseEvent};
use super::handler::Work;
use super::node::Posted;
use super::store::spawn;
use crate::protocol::error::Refusal;
use crate::session::SessionId;

/// How a client treats one of its calls.
struct Plan {
    /// When it cancels it.
    cancel_at: Option<Instant>,
    /// When it drops the connection, to come back.
    drop_at: Option<Instant>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_ms = |at: Option<Instant>| at.map(|at| (at - Instant::now()).as_millis());
        let (cancel, drop) = (in_ms(self.cancel_at), in_ms(self.drop_at));
        write!(f, "cancels it in {cancel:?} ms, drops it in {drop:?} ms")
    }
}

/// How reading a stream ended.
enum ReadEnd {
    /// With the answer.
    Answered,
    /// It broke off, or the client has dropped it.
    Broken,
    /// The client has cancelled the call and waits no longer.
    Cancelled,
}

impl SimulatedClient {
    /// Opens a session.
    pub(super) async fn initialize(&self, revision: &str) -> SessionId {
        let params = json!({
            "protocolVersion": revision,
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": self.name, "version": "1"},
        });
        let text = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        let id = loop {
            let node = self.node().await;
            match node.initialize(&self.principal, &text).await {
                Some(Ok(Some(id))) => break id,
                Some(Ok(None)) => self.world.wrong(format!("{} is not let in", self.name)),
                Some(Err(refusal)) if refusal.retry_after_seconds().is_none() => {
                    self.refused("initialize", &refusal);
                }
                _ => {}
            }
            sleep(self.random.between(200, 800)).await;
        };
        self.world.step(format!("{} has a session", self.name));
        self.set_session(Some(id.clone()));
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        id
    }

    /// Subscribes to a resource. It may be told from the request on, and must be after the answer.
    pub(super) async fn subscribe(&self, uri: &str) {
        let own = self.session().map(|id| format!("{}|{uri}", id.as_str()));
        let key = own
            .filter(|_| uri == self.own())
            .unwrap_or_else(|| uri.to_owned());
        let known = KnownUpdates {
            asked: self.world.now(),
            ..KnownUpdates::default()
        };
        self.subscribed().insert(key.clone(), known);
        let id = self.next_id();
        let request =
            json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": {"uri": uri}});
        let text = request.to_string();
        let since = loop {
            let answer = match self.post(&text).await {
                Posted::Body(body) => Some(body),
                Posted::Stream(mut events) => {
                    let mut answer = None;
                    while let Some(bytes) = events.recv().await {
                        if let Some(message) = SseEvent::read(&bytes).message {
                            answer = Some(Bytes::from(message.to_string()));
                        }
                    }
                    answer
                }
                Posted::Refused(refusal) => return self.refused("to subscribe", &refusal),
                Posted::Accepted | Posted::Broken => None,
            };
            let answer: Value = serde_json::from_slice(&answer.unwrap_or_default()).unwrap_or_default();
            if answer["result"].is_object() {
                break self.world.now();
            }
            sleep(self.random.between(200, 800)).await;
        };
        if let Some(known) = self.subscribed().get_mut(&key) {
            known.since = Some(since);
        }
        self.world.step(format!("{} is subscribed to {uri}", self.name));
    }

    /// Makes a call, and does what it takes to get its answer.
    pub(super) async fn call(self: Arc<Self>, id: u64) {
        let key = format!("{}/{id}/{}", self.name, self.random.below(1 << 32));
        let work = self.work(key, &SHARED);
        let once = self.random.chance(400);
        let random = &self.random;
        let within = |per_mille, most| {
            let at = Instant::now() + random.between(0, most);
            random.chance(per_mille).then_some(at)
        };
        let plan = Plan {
            cancel_at: within(120, 3000),
            drop_at: within(250, 4000),
        };
        let (number, id) = (id, json!(id));
        let text = self.call_text(&id, &work, once);
        let mut asked = AskedRequest::new(id, &work.key);
        self.world
            .step(format!("{} calls {} ({work:?}, {plan:?})", self.name, work.key));
        let (posted, node) = tokio::select! {
            biased;
            posted = self.post_to(&text) => posted,
            () = at(plan.cancel_at) => {
                // It is not known yet what the answer will be: the request is dropped, and the cancellation
                // follows.
                self.cancel(&mut asked).await;
                return;
            }
        };
        match posted {
            Posted::Body(body) => {
                let message = serde_json::from_slice(&body).unwrap_or_default();
                let _none = asked.take(&self.world, &message);
                if !asked.answered {
                    self.world
                        .wrong(format!("call {} has a body without an answer", work.key));
                }
            }
            Posted::Stream(events) => {
                let broke_off = self.follow(events, &mut asked, &work, &plan).await;
                let excused = plan.drop_at.is_some_and(|at| at <= Instant::now()) || self.may_be_gone();
                if broke_off && !excused && node.is_some_and(|node| !node.may_break()) {
                    let key = &work.key;
                    self.world
                        .wrong(format!("call {key} breaks off, and cannot be taken up"));
                }
            }
            // Nobody is told of the end of a session's calls.
            Posted::Accepted if self.may_be_gone() => {}
            Posted::Accepted => self
                .world
                .wrong(format!("call {} is accepted, and not answered", work.key)),
            Posted::Refused(refusal) => self.refused(&format!("call {}", work.key), &refusal),
            Posted::Broken => self
                .world
                .step(format!("call {} broke off before its head", work.key)),
        }
        if plan.cancel_at.is_some_and(|at| at > Instant::now()) && asked.answered && self.random.chance(300) {
            // Too late: it must not hit another call.
            self.cancel(&mut asked).await;
        }
        if asked.answered {
            self.finished(number);
        }
    }

    pub(super) async fn cancel(&self, asked: &mut AskedRequest) {
        asked.cancelled = true;
        self.world.cancels(&asked.key);
        let params = json!({"requestId": asked.id, "reason": asked.key});
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
            .await;
    }

    /// Reads a call's stream to the answer, wherever it is to be taken up. True when it broke off before the
    /// client had anything to come back with.
    async fn follow(
        &self,
        events: Receiver<Bytes>,
        asked: &mut AskedRequest,
        work: &Work,
        plan: &Plan,
    ) -> bool {
        let mut last: Option<(String, u64)> = None;
        let mut drop_at = plan.drop_at;
        let mut events = Some(events);
        loop {
            let Some(open) = events.take() else { return false };
            match self
                .read(open, asked, &mut last, plan.cancel_at, drop_at.take())
                .await
            {
                ReadEnd::Answered | ReadEnd::Cancelled => return false,
                ReadEnd::Broken => {}
            }
            let Some((stream, number)) = &last else {
                self.world
                    .step(format!("call {} broke off, and cannot be taken up", work.key));
                return true;
            };
            let from = format!("{stream}-{number}");
            while events.is_none() {
                sleep(self.random.between(50, 1500)).await;
                let Some(session) = self.session() else {
                    return false;
                };
                let node = self.node().await;
                self.world.step(format!(
                    "{} takes call {} up at {from} on {}",
                    self.name, work.key, node.name
                ));
                match node.open_stream(&self.principal, &session, Some(&from)).await {
                    Some(Ok(Some(open))) => events = Some(open),
                    Some(Ok(None)) => {
                        if !asked.cancelled && !self.may_be_gone() {
                            self.world
                                .wrong(format!("call {} ended without an answer", work.key));
                        }
                        return false;
                    }
                    Some(Err(refusal)) if refusal.retry_after_seconds().is_some() => {}
                    Some(Err(Refusal::BadEventId(_))) if asked.cancelled => return false,
                    Some(Err(refusal)) => {
                        self.refused(&format!("to take up call {}", work.key), &refusal);
                        return false;
                    }
                    None => {}
                }
            }
        }
    }

    async fn read(
        &self,
        mut events: Receiver<Bytes>,
        asked: &mut AskedRequest,
        last: &mut Option<(String, u64)>,
        cancel_at: Option<Instant>,
        drop_at: Option<Instant>,
    ) -> ReadEnd {
        let mut give_up_at = None;
        loop {
            let bytes = tokio::select! {
                biased;
                bytes = events.recv() => bytes,
                () = at(cancel_at), if !asked.cancelled => {
                    self.cancel(asked).await;
                    give_up_at = Some(Instant::now() + Duration::from_secs(3));
                    continue;
                }
                () = at(give_up_at) => return ReadEnd::Cancelled,
                () = at(drop_at) => {
                    self.world.step(format!("{} drops the connection of call {}", self.name, asked.key));
                    // What has arrived is read.
                    events.close();
                    continue;
                }
            };
            let Some(bytes) = bytes else {
                return match (asked.answered, asked.cancelled) {
                    (true, _) => ReadEnd::Answered,
                    (false, true) => ReadEnd::Cancelled,
                    (false, false) => ReadEnd::Broken,
                };
            };
            let event = SseEvent::read(&bytes);
            if let Some((stream, number)) = event.id {
                let fits = match (&*last, &event.message) {
                    // A priming event names what the client has.
                    (Some((before, seen)), None) => *before == stream && number == *seen,
                    (None, None) => number == 0,
                    (Some((before, seen)), Some(_)) => *before == stream && number == seen + 1,
                    (None, Some(_)) => number == 1,
                };
                if !fits {
                    let key = &asked.key;
                    self.world.wrong(format!(
                        "call {key}: event {stream}-{number} comes after {last:?}"
                    ));
                }
                *last = Some((stream, number));
            }
            if let Some(message) = event.message
                && let Some(answer) = asked.take(&self.world, &message)
            {
                self.tell(&answer).await;
            }
        }
    }

    /// Keeps the session's standalone stream open, on one node after another, until the client leaves.
    pub(super) async fn listen(self: Arc<Self>, rests: bool) {
        let mut last: Option<(String, u64)> = None;
        while !self.leaves.is_cancelled() {
            let Some(session) = self.session() else { return };
            let node = self.node().await;
            let from = last.as_ref().map(|(stream, number)| format!("{stream}-{number}"));
            let opened = node.open_stream(&self.principal, &session, from.as_deref()).await;
            let mut events = match opened {
                Some(Ok(Some(events))) => events,
                Some(Err(refusal)) if refusal.retry_after_seconds().is_none() => {
                    // The event that it named is not kept any longer: it opens the stream without one.
                    match refusal {
                        Refusal::BadEventId(_) => last = None,
                        refusal => return self.refused("its stream", &refusal),
                    }
                    continue;
                }
                _ => {
                    sleep(self.random.between(100, 700)).await;
                    continue;
                }
            };
            self.world.step(format!("{} listens on {}", self.name, node.name));
            self.opened.fetch_add(1, Ordering::Relaxed);
            let stays = Instant::now() + self.random.between(500, 15_000);
            let stays = self.random.chance(500).then_some(stays);
            // What it says it has is not told again.
            let mut before = last.as_ref().map_or(0, |(_, number)| *number);
            loop {
                let bytes = tokio::select! {
                    biased;
                    bytes = events.recv() => bytes,
                    () = self.leaves.cancelled() => { events.close(); continue; }
                    () = at(stays) => { events.close(); continue; }
                };
                let Some(bytes) = bytes else { break };
                let event = SseEvent::read(&bytes);
                let mut again = false;
                if let (Some((stream, number)), Some(_)) = (&event.id, &event.message) {
                    if *number <= before {
                        let name = &self.name;
                        self.world
                            .wrong(format!("{name}: event {stream}-{number} comes after {before}"));
                    }
                    before = *number;
                    // Several connections may be given it, of which one has gone before that was noted.
                    again = !self.sees(*number);
                    last = Some((stream.clone(), *number));
                }
                if let Some(message) = event.message.filter(|_| !again)
                    && let Some(answer) = self.take_notice(&message)
                {
                    let client = Arc::clone(&self);
                    spawn(async move { client.tell(&answer).await });
                }
            }
            if rests {
                sleep(self.random.between(0, 3000)).await;
            }
        }
    }
}

/// Waits until then; for ever, if that is never.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
