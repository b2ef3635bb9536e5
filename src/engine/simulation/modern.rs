//! Simulated clients of 2026-07-28, which have no session.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::{AskedRequest, KnownUpdates, SHARED, SimulatedClient, SseEvent};
use super::node::{ClientName, Posted};
use super::streamable::at;

impl SimulatedClient {
    /// Makes a call. When its connection breaks, nobody can come back for the answer.
    pub(super) async fn modern_call(self: Arc<Self>) {
        let number = self.next_id();
        let work = self.work(
            format!("{}/{number}/{}", self.name, self.random.below(1 << 32)),
            &SHARED,
        );
        let once = self.random.chance(400);
        let id = json!(number);
        let text = self.call_text(&id, &work, once);
        let mut asked = AskedRequest::new(id, &work.key);
        let closes_at = Instant::now() + self.random.between(0, 3000);
        let closes_at = self.random.chance(150).then_some(closes_at);
        self.world
            .step(format!("{} calls {} ({work:?})", self.name, work.key));
        let (posted, node) = self.post_to(&text).await;
        match posted {
            Posted::Body(body) => {
                let message = serde_json::from_slice(&body).unwrap_or_default();
                let _none = asked.take(&self.world, &message);
            }
            Posted::Stream(mut events) => loop {
                let bytes = tokio::select! {
                    biased;
                    bytes = events.recv() => bytes,
                    () = at(closes_at) => return,
                };
                let Some(bytes) = bytes else { break };
                if let Some(message) = SseEvent::read(&bytes).message {
                    let _none = asked.take(&self.world, &message);
                }
            },
            Posted::Accepted => self
                .world
                .wrong(format!("call {} is accepted, and not answered", work.key)),
            Posted::Refused(refusal) => self.refused(&format!("call {}", work.key), &refusal),
            Posted::Broken => return,
        }
        if asked.answered {
            self.finished(number);
        } else if node.is_some_and(|node| !node.may_break()) {
            self.world
                .wrong(format!("call {} ends without an answer", work.key));
        }
    }

    /// Keeps a subscription open, on one node after another, until the client leaves. What changed before it
    /// was acknowledged is not told.
    pub(super) async fn subscription(self: Arc<Self>) {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": self.name, "version": "1"},
        });
        let filter = json!({"resourceSubscriptions": SHARED});
        while !self.leaves.is_cancelled() {
            let params = json!({"notifications": filter, "_meta": meta});
            let request = json!({"jsonrpc": "2.0", "id": self.next_id(), "method": "subscriptions/listen", "params": params});
            let node = self.node().await;
            for uri in SHARED {
                let known = KnownUpdates {
                    asked: self.world.now(),
                    ..KnownUpdates::default()
                };
                self.subscribed().insert(uri.to_owned(), known);
            }
            let posted = node
                .post(&self.principal, &ClientName::Nobody, &request.to_string())
                .await;
            let mut events = match posted {
                Posted::Stream(events) => events,
                Posted::Refused(refusal) if refusal.retry_after_seconds().is_none() => {
                    return self.refused("to listen", &refusal);
                }
                _ => {
                    sleep(self.random.between(200, 900)).await;
                    continue;
                }
            };
            let stays = Instant::now() + self.random.between(1000, 20_000);
            let stays = self.random.chance(400).then_some(stays);
            loop {
                let bytes = tokio::select! {
                    biased;
                    bytes = events.recv() => bytes,
                    () = self.leaves.cancelled() => break,
                    () = at(stays) => break,
                };
                let Some(bytes) = bytes else { break };
                if let Some(message) = SseEvent::read(&bytes).message {
                    self.take_subscribed(&message);
                }
            }
            if !self.leaves.is_cancelled() {
                self.subscribed().clear();
            }
            sleep(Duration::from_millis(self.random.below(500))).await;
        }
    }

    fn take_subscribed(&self, message: &Value) {
        match message["method"].as_str() {
            Some("notifications/subscriptions/acknowledged") => {
                let now = self.world.now();
                for known in self.subscribed().values_mut() {
                    known.since = Some(now);
                }
            }
            Some(_) => drop(self.take_notice(message)),
            // The subscription has ended.
            None => {}
        }
    }
}
