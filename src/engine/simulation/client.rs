//! What all simulated clients share: where nodes are, what was asked, what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::handler::{ONCE, SAFE, Work};
use super::node::{ClientName, Node, Posted};
use super::random::Random;
use super::world::World;
use crate::protocol::error::Refusal;
use crate::session::{Principal, SessionId, TransportKind};

/// The resources that are the same for all.
pub(super) const SHARED: [&str; 2] = ["all:a", "all:b"];

/// The nodes, as the balancer in front of them knows them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes(Arc<Mutex<Vec<Arc<Node>>>>);

impl Nodes {
    pub(super) fn add(&self, node: Arc<Node>) {
        let mut all = self.lock();
        all.retain(|node| !node.gone.is_cancelled());
        all.push(node);
    }

    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        let all = self.lock();
        all.iter()
            .filter(|node| !node.gone.is_cancelled())
            .cloned()
            .collect()
    }

    /// Those that take requests.
    pub(super) fn serving(&self) -> Vec<Arc<Node>> {
        self.lock().iter().filter(|node| node.serves()).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of a request that only asks whether a node takes it.
pub(super) const REACHABLE: &str = "reachable";

/// What the key of a request begins with that subscribes.
pub(super) const SUBSCRIBE: &str = "subscribe ";

/// A request that a client has made.
#[derive(Debug)]
pub(super) struct AskedRequest {
    pub(super) id: Value,
    pub(super) key: String,
    /// The last step that was told.
    steps: f64,
    /// Whether one before it was not.
    missed: bool,
    pub(super) answered: bool,
    /// Whether by a result.
    pub(super) succeeded: bool,
    pub(super) cancelled: bool,
    /// Whether a node has refused it and asked the client to try again: what was refused may have been taken,
    /// and be answered too.
    pub(super) tried_again: bool,
}

impl AskedRequest {
    pub(super) fn new(id: Value, key: &str) -> Self {
        Self {
            id,
            key: key.to_owned(),
            steps: 0.0,
            missed: false,
            answered: false,
            succeeded: false,
            cancelled: false,
            tried_again: false,
        }
    }

    /// Takes a message that belongs to it. Returns the answer to give, if it asks something.
    pub(super) fn take(&mut self, world: &World, message: &Value) -> Option<Value> {
        let key = &self.key;
        match message["method"].as_str() {
            Some("notifications/progress") => {
                let step = message["params"]["progress"].as_f64().unwrap_or_default();
                let fits = step > self.steps || self.tried_again;
                self.missed |= step > self.steps + 1.0;
                if message["params"]["message"] != *key || !fits {
                    world.wrong(format!("call {key} at step {} is told {message}", self.steps));
                }
                self.steps = step;
                None
            }
            Some("elicitation/create") => {
                let question = &message["params"]["message"];
                if !question
                    .as_str()
                    .unwrap_or_default()
                    .starts_with(&format!("{key}?"))
                {
                    world.wrong(format!("call {key} is asked {message}"));
                }
                let result = json!({"action": "accept", "content": {"name": question}});
                Some(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
            }
            // Nobody waits for the answer any longer; or the node wants to know whether the client lives.
            Some("notifications/cancelled") => None,
            Some("ping") => Some(json!({"jsonrpc": "2.0", "id": message["id"], "result": {}})),
            Some(other) => {
                world.wrong(format!("call {key} is told {other}: {message}"));
                None
            }
            None => {
                if self.answered && !self.tried_again {
                    world.wrong(format!("call {key} is answered again: {message}"));
                }
                if message["id"] != self.id {
                    world.wrong(format!(
                        "call {key} has id {}, and is answered {message}",
                        self.id
                    ));
                }
                if !self.is_answer(message) {
                    world.wrong(format!("call {key} is answered {message}"));
                }
                if self.missed && !self.tried_again && message.get("error").is_none() {
                    world.wrong(format!(
                        "call {key} has a result, and its client was not told all"
                    ));
                }
                self.answered = true;
                self.succeeded |= message["result"].is_object();
                world.step(format!("call {key} is answered {}", &short(message)));
                None
            }
        }
    }

    /// Whether this is an error, or what a call of that key returns.
    fn is_answer(&self, message: &Value) -> bool {
        if message["error"]["message"].is_string() {
            return true;
        }
        if self.key == "initialize" {
            return message["result"]["protocolVersion"].is_string();
        }
        if self.key.starts_with(SUBSCRIBE) {
            return message["result"].is_object();
        }
        let text = message["result"]["content"][0]["text"].as_str();
        let done: Value = serde_json::from_str(text.unwrap_or("null")).unwrap_or_default();
        done["key"] == *self.key
    }
}

fn short(message: &Value) -> String {
    match message.get("error") {
        Some(error) => error["message"].to_string(),
        None => "by a result".to_owned(),
    }
}

/// A server-sent event.
#[derive(Debug, Default)]
pub(super) struct SseEvent {
    /// Its stream and number, if it has an id.
    pub(super) id: Option<(String, u64)>,
    pub(super) message: Option<Value>,
}

impl SseEvent {
    pub(super) fn read(bytes: &Bytes) -> Self {
        let mut event = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                let (stream, number) = id.rsplit_once('-').unwrap_or((id, "0"));
                event.id = Some((stream.to_owned(), number.parse().unwrap_or_default()));
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.message = serde_json::from_str(data).ok();
            }
        }
        event
    }
}

/// What a client knows of one resource.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownUpdates {
    /// From when on it may have been told, and from when on it must have been.
    pub(super) asked: Duration,
    pub(super) since: Option<Duration>,
    pub(super) told: Vec<Duration>,
}

/// A client.
#[derive(Debug)]
pub(super) struct SimulatedClient {
    pub(super) world: World,
    pub(super) nodes: Nodes,
    pub(super) random: Random,
    pub(super) name: String,
    pub(super) principal: Principal,
    pub(super) transport: Option<TransportKind>,
    /// The key by which it names its session, if it has one of its own.
    pub(super) key: Option<SessionId>,
    /// Whether it has introduced itself: what comes before is a former life's.
    pub(super) introduced: AtomicBool,
    /// How often it has opened its stream.
    pub(super) opened: AtomicU64,
    session: Mutex<Option<SessionId>>,
    next_id: Mutex<u64>,
    /// The ids of its requests that are answered.
    finished: Mutex<Vec<u64>>,
    subscribed: Mutex<BTreeMap<String, KnownUpdates>>,
    /// The events of its session's own stream that it was given, on any connection.
    seen: Mutex<BTreeSet<u64>>,
    /// Whether it ends its session, while it uses it.
    pub(super) ends: AtomicBool,
    /// Fires when it closes its streams.
    pub(super) leaves: CancellationToken,
}

impl SimulatedClient {
    pub(super) fn new(
        name: &str,
        transport: Option<TransportKind>,
        world: &World,
        nodes: &Nodes,
        random: Random,
    ) -> Self {
        Self {
            world: world.clone(),
            nodes: nodes.clone(),
            random,
            name: name.to_owned(),
            principal: Principal(name.into()),
            transport,
            key: None,
            introduced: AtomicBool::new(transport != Some(TransportKind::Sse)),
            opened: AtomicU64::new(0),
            session: Mutex::default(),
            next_id: Mutex::new(1),
            finished: Mutex::default(),
            subscribed: Mutex::default(),
            seen: Mutex::default(),
            ends: AtomicBool::new(false),
            leaves: CancellationToken::new(),
        }
    }

    /// The same client, started again under its key: it knows nothing of its former life.
    pub(super) fn again(&self, key: SessionId) -> Arc<Self> {
        let random = self.random.fork();
        let again = Self::new(&self.name, self.transport, &self.world, &self.nodes, random);
        Arc::new(Self {
            key: Some(key),
            ..again
        })
    }

    /// The same client with another session.
    pub(super) fn visitor(&self) -> Arc<Self> {
        let random = self.random.fork();
        let visitor = Self::new(&self.name, self.transport, &self.world, &self.nodes, random);
        Arc::new(visitor)
    }

    /// Whether its session may be gone.
    pub(super) fn may_be_gone(&self) -> bool {
        self.leaves.is_cancelled() || self.ends.load(Ordering::Relaxed)
    }

    /// A node that takes requests, as soon as there is one.
    pub(super) async fn node(&self) -> Arc<Node> {
        loop {
            if let Some(node) = self.random.pick(&self.nodes.serving()) {
                return Arc::clone(node);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_session(&self, id: Option<SessionId>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// How it names itself.
    pub(super) fn named(&self) -> Option<ClientName> {
        match self.transport {
            None => Some(ClientName::Nobody),
            Some(transport) => Some(ClientName::Session(self.session()?, transport)),
        }
    }

    /// The resource of which each of its sessions has its own.
    pub(super) fn own(&self) -> String {
        format!("own:{}", self.name)
    }

    /// Notes that the request of that id is answered.
    pub(super) fn finished(&self, id: u64) {
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id);
    }

    /// The id of its next request: sometimes one that was used before.
    pub(super) fn next_id(&self) -> u64 {
        if self.random.chance(200) {
            let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(id) = finished.pop() {
                return id;
            }
        }
        let mut next = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        *next
    }

    pub(super) fn subscribed(&self) -> MutexGuard<'_, BTreeMap<String, KnownUpdates>> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events of its session's own stream that it was given.
    pub(super) fn seen(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event of its session's own stream. False when it was given that before.
    pub(super) fn sees(&self, number: u64) -> bool {
        self.seen().insert(number)
    }

    /// Posts until a node takes it, or says that it never will.
    pub(super) async fn post(&self, text: &str) -> Posted {
        self.post_to(text).await.0
    }

    /// The same. Which node it was, too.
    pub(super) async fn post_to(&self, text: &str) -> (Posted, Option<Arc<Node>>) {
        loop {
            let Some(named) = self.named().filter(|_| !self.leaves.is_cancelled()) else {
                return (Posted::Broken, None);
            };
            let node = self.node().await;
            match node.post(&self.principal, &named, text).await {
                Posted::Refused(refusal) if refusal.retry_after_seconds().is_some() => {
                    sleep(self.random.between(300, 1000)).await;
                }
                Posted::Refused(Refusal::StreamLost { .. }) => sleep(self.random.between(100, 600)).await,
                posted => return (posted, Some(node)),
            }
        }
    }

    /// Posts what needs no answer, until it arrives; sometimes twice.
    pub(super) async fn tell(&self, message: &Value) {
        let text = message.to_string();
        for _ in 0..2 {
            match self.post(&text).await {
                Posted::Accepted | Posted::Body(_) | Posted::Stream(_) => {}
                Posted::Broken if self.leaves.is_cancelled() => return,
                Posted::Broken => continue,
                Posted::Refused(refusal) => return self.refused("a message", &refusal),
            }
            if !self.random.chance(50) {
                return;
            }
        }
    }

    /// A node has refused something for good.
    pub(super) fn refused(&self, what: &str, refusal: &Refusal) {
        let name = &self.name;
        match refusal {
            Refusal::SessionNotFound if self.may_be_gone() => {}
            Refusal::SessionNotFound => self.world.wrong(format!("{name} has lost its session: {what}")),
            refusal => self.world.wrong(format!("{name}: {what} is refused: {refusal}")),
        }
    }

    /// A call of a tool, as JSON text.
    pub(super) fn call_text(&self, id: &Value, work: &Work, once: bool) -> String {
        let name = if once { ONCE } else { SAFE };
        let mut meta = json!({"progressToken": work.key});
        if self.transport.is_none() {
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": self.name, "version": "1"});
        }
        let params = json!({"name": name, "arguments": work, "_meta": meta});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
    }

    /// What the next call does.
    pub(super) fn work(&self, key: String, resources: &[&str]) -> Work {
        let random = &self.random;
        let mut work = Work {
            key,
            ..Work::default()
        };
        match random.below(10) {
            0..3 => work.counts = self.transport.is_some(),
            3..6 => {
                work.steps = u32::try_from(random.below(6)).unwrap_or(0) + 1;
                work.pause_ms = random.below(1500);
            }
            6 | 7 if self.transport.is_some() => {
                work.asks = u32::try_from(random.below(2)).unwrap_or(0) + 1;
                work.steps = u32::try_from(random.below(2)).unwrap_or(0);
                work.pause_ms = random.below(500);
            }
            8 => {
                work.steps = 1;
                work.pause_ms = 100 + random.below(4000);
            }
            _ => {
                work.own = self.transport.is_some() && random.chance(300);
                work.changes = match work.own {
                    true => Some(self.own()),
                    false => random.pick(resources).map(|uri| (*uri).to_owned()),
                };
            }
        }
        work
    }
}
