//! Simulated clients of 2024-11-05: everything that they are told comes on one stream.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::client::{AskedRequest, KnownUpdates, REACHABLE, SHARED, SUBSCRIBE, SimulatedClient, SseEvent};
use super::node::{ClientName, Posted};
use super::store::spawn;
use super::streamable::at;
use crate::protocol::error::Refusal;
use crate::session::{SessionId, TransportKind};

/// How long a request may take that a node has accepted.
const ANSWERED_WITHIN: Duration = Duration::from_secs(200);

/// The requests of a client that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct WaitingRequests {
    asked: Mutex<BTreeMap<String, AskedRequest>>,
    news: Notify,
}

impl WaitingRequests {
    fn take(&self, client: &SimulatedClient, message: &Value) -> Option<Value> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let params = &message["params"];
        let of = |asked: &&mut AskedRequest| match message["method"].as_str() {
            Some("notifications/progress") => params["progressToken"] == asked.key,
            Some("elicitation/create") => {
                let question = params["message"].as_str().unwrap_or_default();
                question.starts_with(&format!("{}?", asked.key))
            }
            Some(_) => false,
            None => asked.id == message["id"],
        };
        // An id may have been used before: then it is that of the request which waits, or else of one that was
        // sent twice, and so may be answered twice.
        let found = asked
            .values_mut()
            .filter(of)
            .min_by_key(|asked| (asked.answered, !asked.tried_again));
        let answer = match found {
            Some(asked) => asked.take(&client.world, message),
            None => {
                drop(asked);
                return client.take_notice(message);
            }
        };
        drop(asked);
        self.news.notify_waiters();
        answer
    }

    fn add(&self, asked: AskedRequest) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(asked.key.clone(), asked);
    }

    fn try_again(&self, key: &str) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = all.get_mut(key) {
            asked.tried_again = true;
        }
    }

    /// Whether it is answered, and will not be again.
    fn is_over(&self, key: &str) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .get(key)
            .is_some_and(|asked| asked.answered && !asked.tried_again)
    }

    fn has_succeeded(&self, key: &str) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(key).is_some_and(|asked| asked.succeeded)
    }

    fn is_answered(&self, key: &str) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(key).is_some_and(|asked| asked.answered)
    }
}

impl SimulatedClient {
    /// Keeps the session's stream open, on one node after another, until the client leaves. Makes the session
    /// at first.
    pub(super) async fn stream(self: Arc<Self>, waiting: Arc<WaitingRequests>) {
        let mut last: Option<String> = None;
        let mut highest = 0;
        while !self.leaves.is_cancelled() {
            let (known, node) = (self.session().or_else(|| self.key.clone()), self.node().await);
            let opened = node
                .open_sse(&self.principal, known.as_ref(), last.as_deref())
                .await;
            let (id, mut events) = match opened {
                Some(Ok(opened)) => opened,
                Some(Err(refusal)) if refusal.retry_after_seconds().is_none() => {
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
            self.world
                .step(format!("{} streams from {}", self.name, node.name));
            self.found(id);
            self.opened.fetch_add(1, Ordering::Relaxed);
            let stays = Instant::now() + self.random.between(500, 15_000);
            let stays = self.random.chance(500).then_some(stays);
            loop {
                let bytes = tokio::select! {
                    biased;
                    bytes = events.recv() => bytes,
                    () = self.leaves.cancelled() => { events.close(); continue; }
                    () = at(stays) => { events.close(); continue; }
                };
                let Some(bytes) = bytes else { break };
                let event = SseEvent::read(&bytes);
                let (Some((stream, number)), Some(message)) = (event.id, event.message) else {
                    continue;
                };
                last = Some(format!("{stream}-{number}"));
                if number <= highest {
                    self.world.wrong(format!(
                        "{}: event {stream}-{number} comes after {highest}",
                        self.name
                    ));
                    continue;
                }
                // What was not delivered to a former life of the client is dropped.
                if highest > 0 && number > highest + 1 && self.key.is_none() {
                    self.world.wrong(format!(
                        "{}: event {stream}-{number} follows {highest}",
                        self.name
                    ));
                }
                highest = number;
                if let Some(answer) = waiting.take(&self, &message) {
                    let client = Arc::clone(&self);
                    spawn(async move { client.tell(&answer).await });
                }
            }
            sleep(self.random.between(20, 800)).await;
        }
    }

    fn found(&self, id: SessionId) {
        if self.session().is_none() {
            self.set_session(Some(id));
        }
    }

    /// Introduces itself, once its stream is open.
    pub(super) async fn introduce(&self, waiting: &WaitingRequests) {
        while self.session().is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        let params = json!({
            "protocolVersion": "2024-11-05",
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": self.name, "version": "1"},
        });
        let id = json!(0);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params});
        let mut asked = AskedRequest::new(id, "initialize");
        // That of a former life may have arrived when its client was killed, and be answered late.
        asked.tried_again = self.key.is_some();
        self.ask(waiting, asked, &request.to_string()).await;
        self.introduced.store(true, Ordering::Relaxed);
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    /// Every node takes what a client posts whose stream is open.
    pub(super) async fn check_reachable(&self) {
        let Some(named @ ClientName::Session(_, TransportKind::Sse)) = self.named() else {
            return;
        };
        let text = json!({"jsonrpc": "2.0", "id": REACHABLE, "method": "ping"}).to_string();
        for node in self.nodes.serving() {
            if let Posted::Refused(refusal) = node.post(&self.principal, &named, &text).await {
                let (name, node) = (&self.name, &node.name);
                self.world
                    .wrong(format!("{node} does not take a message of {name}: {refusal}"));
            }
        }
    }

    /// Subscribes to a resource. It may be told from the request on, and must be after the answer.
    pub(super) async fn sse_subscribe(&self, waiting: &WaitingRequests, uri: &str) {
        let known = KnownUpdates {
            asked: self.world.now(),
            ..KnownUpdates::default()
        };
        self.subscribed().insert(uri.to_owned(), known);
        while !self.leaves.is_cancelled() {
            let id = self.next_id();
            let key = format!("{SUBSCRIBE}{uri} {id} {}", self.random.below(1 << 32));
            let request =
                json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": {"uri": uri}});
            self.ask(waiting, AskedRequest::new(json!(id), &key), &request.to_string())
                .await;
            if waiting.has_succeeded(&key) {
                break;
            }
            sleep(self.random.between(200, 800)).await;
        }
        let now = self.world.now();
        if let Some(known) = self.subscribed().get_mut(uri) {
            known.since = Some(now);
        }
    }

    /// Makes a call.
    pub(super) async fn sse_call(self: Arc<Self>, waiting: Arc<WaitingRequests>) {
        let number = self.next_id();
        let key = format!("{}/{number}/{}", self.name, self.random.below(1 << 32));
        let work = self.work(key.clone(), &SHARED);
        let once = self.random.chance(400);
        self.world.step(format!("{} calls {key} ({work:?})", self.name));
        let id = json!(number);
        let text = self.call_text(&id, &work, once);
        let cancel_at = Instant::now() + self.random.between(0, 3000);
        let cancel_at = self.random.chance(120).then_some(cancel_at);
        let mut asked = AskedRequest::new(id.clone(), &key);
        tokio::select! {
            biased;
            () = self.ask(&waiting, AskedRequest::new(id, &key), &text) => {}
            // It does not wait for the answer, which may come nevertheless.
            () = at(cancel_at) => self.cancel(&mut asked).await,
        }
        if waiting.is_over(&key) {
            self.finished(number);
        }
    }

    async fn ask(&self, waiting: &WaitingRequests, asked: AskedRequest, text: &str) {
        let key = asked.key.clone();
        waiting.add(asked);
        let posted = loop {
            let Some(named) = self.named().filter(|_| !self.leaves.is_cancelled()) else {
                return;
            };
            let node = self.node().await;
            let posted = node.post(&self.principal, &named, text);
            // A client that is killed takes back what has not arrived.
            let Some(posted) = self.leaves.run_until_cancelled(posted).await else {
                return;
            };
            match posted {
                Posted::Refused(refusal) if refusal.retry_after_seconds().is_some() => {
                    waiting.try_again(&key);
                    sleep(self.random.between(300, 1000)).await;
                }
                Posted::Refused(Refusal::StreamLost { .. }) => {
                    sleep(self.random.between(100, 600)).await;
                }
                posted => break posted,
            }
        };
        match posted {
            Posted::Accepted => {}
            Posted::Broken => {
                // It may have been taken or not: the client does not wait for it.
                return self
                    .world
                    .step(format!("call {key} broke off before it was accepted"));
            }
            Posted::Refused(refusal) => return self.refused(&format!("call {key}"), &refusal),
            Posted::Body(_) | Posted::Stream(_) => {
                return self.world.wrong(format!("call {key} is answered on its POST"));
            }
        }
        let answered = async {
            while !waiting.is_answered(&key) {
                let news = waiting.news.notified();
                if !waiting.is_answered(&key) {
                    news.await;
                }
            }
        };
        let answered = timeout(ANSWERED_WITHIN, answered);
        // One that has been killed waits for nothing.
        let Some(answered) = self.leaves.run_until_cancelled(answered).await else {
            return;
        };
        if answered.is_err() {
            self.world
                .wrong(format!("call {key} was accepted, and is not answered"));
        }
    }
}
