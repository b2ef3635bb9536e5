//! A simulated node: an engine on the common store, which can be held up, cut off, stopped and killed.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rmcp::model::RequestId;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::handler::SimulatedServer;
use super::store::FaultyStore;
use super::world::{NodeLife, World};
use crate::audit::Audit;
use crate::cluster::Membership;
use crate::cluster::secrets::RequestStateKeys;
use crate::config::Settings;
use crate::engine::incoming::{Incoming, Requester};
use crate::engine::modern::{ModernContext, ModernRequest};
use crate::engine::reply::Reply;
use crate::engine::request::RequestMeta;
use crate::engine::{Engine, Parts};
use crate::protocol::era::Revision;
use crate::protocol::error::Refusal;
use crate::protocol::message::{Body, Message};
use crate::session::{NodeId, Peer, Principal, RequestInfo, SessionId, TransportKind};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::supervisor::Supervisor;
use crate::supervisor::gate::{Gate, GatePhase};

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    life: NodeLife,
    pub(super) engine: Arc<Engine>,
    pub(super) faults: Arc<Faults>,
    gate: Gate,
    /// Whether it is to be killed or stopped.
    pub(super) doomed: AtomicBool,
    /// When it went on last after it was held up.
    went_on: Mutex<Option<Instant>>,
    /// Fires when it is killed, or has stopped.
    pub(super) gone: CancellationToken,
    world: World,
}

/// What a client gets of a `POST`.
#[derive(Debug)]
pub(super) enum Posted {
    /// A single body.
    Body(Bytes),
    /// A stream of server-sent events.
    Stream(Receiver<Bytes>),
    /// 202, without a body.
    Accepted,
    /// An error of HTTP.
    Refused(Refusal),
    /// The connection broke before there was an answer.
    Broken,
}

/// How a client names itself in a request.
#[derive(Debug, Clone)]
pub(super) enum ClientName {
    Session(SessionId, TransportKind),
    Nobody,
}

impl Node {
    /// Starts a node. `None` when it was killed before it was ready.
    pub(super) async fn start(
        name: &str,
        world: &World,
        memory: &MemoryStore,
        faults: Arc<Faults>,
        settings: Settings,
    ) -> Option<Arc<Self>> {
        let gate = Gate::default();
        let life = world.started(name);
        let store = FaultyStore::new(memory, &faults, world, &life);
        let store: Arc<dyn Store> = Arc::new(store);
        let server = SimulatedServer {
            world: world.clone(),
            life: life.clone(),
        };
        let [supervisor, work] = [(); 2].map(|()| Supervisor::gated(name, gate.clone()));
        let owners = [supervisor.clone(), work.clone()];
        let node = NodeId::parse(name)?;
        let membership = Arc::new(Membership::new(node, name));
        let made = async move {
            membership.join(store.as_ref()).await.ok()?;
            let clock = membership.clock().clone();
            let keys = RequestStateKeys::configured(&"k".repeat(32), clock).ok()?;
            let mut settings = settings;
            settings.request_state.secret = "k".repeat(32);
            let audit = Audit::silent(membership.node());
            let engine = Engine::new(Parts {
                settings,
                handler: Arc::new(server),
                store,
                membership,
                keys,
                supervisor,
                work,
                audit,
            });
            engine.start().await.ok()?;
            Some(engine)
        };
        let Some(engine) = gate.guard(made).await.flatten() else {
            // The process ends, and all that it has begun.
            world.ended(&life);
            faults.kill();
            gate.set(GatePhase::Dead);
            owners.iter().for_each(Supervisor::kill);
            return None;
        };
        world.step(format!("{life} has started"));
        Some(Arc::new(Self {
            name: name.to_owned(),
            life,
            engine,
            faults,
            gate,
            doomed: AtomicBool::new(false),
            went_on: Mutex::default(),
            gone: CancellationToken::new(),
            world: world.clone(),
        }))
    }

    /// Kills it, at any point where it waits.
    pub(super) fn kill(&self) {
        self.check_lives();
        self.world.ended(&self.life);
        self.world.step(format!("{} is killed", self.name));
        self.faults.kill();
        self.gate.set(GatePhase::Dead);
        self.engine.work.kill();
        self.engine.supervisor.kill();
        self.gone.cancel();
    }

    /// One that was not told to stop has ended none of the tasks that it cannot do without.
    pub(super) fn check_lives(&self) {
        let owners = [&self.engine.supervisor, &self.engine.work];
        if owners.iter().any(|owner| owner.stopping().is_cancelled()) {
            self.world.wrong(format!("{} stops by itself", self.life));
        }
    }

    /// What it keeps that belongs to a client.
    pub(super) fn left(&self) -> Vec<String> {
        let engine = &self.engine;
        let counts = [
            ("sessions", engine.sessions.kept()),
            ("calls", engine.calls.left()),
            ("streams", engine.streams.left()),
            ("listeners", engine.listeners.left()),
            ("tasks of its work", engine.work.left()),
            ("shares of peers", engine.shares.left()),
            ("subscribers", engine.sessions.subscribers().len()),
            ("tasks", engine.tasks.left()),
            ("changes to announce", engine.listeners.unannounced_left()),
        ];
        let left = counts.into_iter().filter(|(_, count)| *count > 0);
        left.map(|(what, count)| format!("{count} {what}")).collect()
    }

    /// It goes on, if it was held up.
    pub(super) fn wake(&self) {
        if self.gate.phase() == GatePhase::Paused {
            *self.went_on.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.gate.set(GatePhase::Open);
    }

    /// Holds it up for a while.
    pub(super) async fn pause(&self, pause: Duration) {
        self.world.step(format!("{} is paused", self.name));
        self.gate.set(GatePhase::Paused);
        sleep(pause).await;
        self.wake();
        self.world.step(format!("{} goes on", self.name));
    }

    /// Whether it was held up since then.
    pub(super) fn was_held_up_since(&self, then: Instant) -> bool {
        let went_on = *self.went_on.lock().unwrap_or_else(PoisonError::into_inner);
        went_on.is_some_and(|went_on| went_on >= then)
    }

    /// Stops it as SIGTERM does.
    pub(super) async fn drain(&self, deadline: Duration) {
        self.check_lives();
        self.world.step(format!("{} drains", self.name));
        let engine = &self.engine;
        let drained = async {
            engine.stopping.draining.cancel();
            engine.send_elsewhere(std::future::pending()).await;
            let until = Instant::now() + deadline;
            while engine.work.left() > 0 && Instant::now() < until {
                sleep(Duration::from_millis(50)).await;
            }
            engine.stopping.deadline.cancel();
            engine.work.stop(Duration::from_millis(500)).await;
            engine.supervisor.stop(Duration::from_millis(500)).await;
            engine.leave().await;
        };
        self.gate.guard(drained).await.unwrap_or_default();
        // What is left of it goes with the process.
        self.world.ended(&self.life);
        self.faults.kill();
        self.gate.set(GatePhase::Dead);
        self.gone.cancel();
        self.world.step(format!("{} has stopped", self.name));
    }

    /// Whether it takes requests.
    pub(super) fn serves(&self) -> bool {
        !self.gone.is_cancelled() && !self.engine.is_draining()
    }

    /// Whether its connections may break: it is gone, or its deadline to stop has passed.
    pub(super) fn may_break(&self) -> bool {
        self.gone.is_cancelled() || self.engine.stopping.deadline.is_cancelled()
    }

    /// Does what a connection asks for, as long as the node lives.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.gone.cancelled() => None,
            done = self.gate.guard(work) => done,
        }
    }

    fn incoming(&self, principal: &Principal, body: &Bytes) -> Incoming {
        Incoming {
            requester: Requester {
                identity: principal.clone().into(),
                peer: self.engine.shares.of(Peer::Principal(principal.clone())),
                info: RequestInfo::of([("x-client", principal.as_str())]),
            },
            address: None,
            from: None,
            began: Instant::now(),
            form: self.engine.settings.call.reply,
            body: body.clone(),
        }
    }

    /// Opens a session. The response, and the session's id.
    pub(super) async fn initialize(
        &self,
        principal: &Principal,
        text: &str,
    ) -> Option<Result<Option<SessionId>, Refusal>> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let opened = async {
            let Ok(Body::One(Message::Request(request))) = Body::parse(&body) else {
                return Err(Refusal::NotJson);
            };
            let incoming = self.incoming(principal, &body);
            Ok(self.engine.initialize(incoming, request).await?.session)
        };
        self.within(opened).await
    }

    /// Posts a message.
    pub(super) async fn post(&self, principal: &Principal, named: &ClientName, text: &str) -> Posted {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let posted = async {
            let Ok(Body::One(message)) = Body::parse(&body) else {
                return Err(Refusal::NotJson);
            };
            let (engine, incoming) = (&self.engine, self.incoming(principal, &body));
            let (id, transport) = match named {
                ClientName::Nobody => return self.post_modern(incoming, message).await,
                ClientName::Session(id, transport) => (id, *transport),
            };
            let cached = engine.session(id, principal, transport).await?;
            if transport == TransportKind::Sse {
                engine.sse_message(incoming, &cached, message).await?;
                return Ok(Posted::Accepted);
            }
            match message {
                Message::Request(request) => {
                    let meta = RequestMeta::read(request.params)?;
                    Ok(reply(engine.request(incoming, cached, request, meta).await?))
                }
                Message::Notification(notification) => {
                    engine.notification(incoming, &cached, &notification).await?;
                    Ok(Posted::Accepted)
                }
                Message::Response(response) => {
                    engine.response(&cached, response).await?;
                    Ok(Posted::Accepted)
                }
            }
        };
        match self.within(posted).await {
            Some(Ok(posted)) => posted,
            Some(Err(refusal)) => Posted::Refused(refusal),
            None => Posted::Broken,
        }
    }

    async fn post_modern(&self, incoming: Incoming, message: Message<'_>) -> Result<Posted, Refusal> {
        let Message::Request(request) = message else {
            return Ok(Posted::Accepted);
        };
        let meta = RequestMeta::read(request.params)?;
        let read = ModernRequest::read(&request)?;
        let context = ModernContext {
            revision: Revision::V2026_07_28,
            capabilities: meta.meta.client_capabilities().unwrap_or_default(),
        };
        let id: RequestId = request.id;
        let replied = self
            .engine
            .modern_request(incoming, context, id, read, meta)
            .await?;
        Ok(reply(replied))
    }

    /// Opens the standalone stream of a session, or the one that an event id names. `Ok(None)`: nothing
    /// follows.
    pub(super) async fn open_stream(
        &self,
        principal: &Principal,
        id: &SessionId,
        last_event_id: Option<&str>,
    ) -> Option<Result<Option<Receiver<Bytes>>, Refusal>> {
        let (engine, incoming) = (Arc::clone(&self.engine), self.incoming(principal, &Bytes::new()));
        let (id, last) = (id.clone(), last_event_id.map(ToOwned::to_owned));
        let opened = async move {
            let permit = engine.stream_permit(&incoming.requester.peer)?;
            let cached = engine
                .session(
                    &id,
                    incoming.requester.identity.principal(),
                    TransportKind::Streamable,
                )
                .await?;
            let opened = engine
                .open_stream(&cached, last.as_deref(), None, None, permit)
                .await?;
            Ok(opened.map(|stream| stream.events))
        };
        self.carried_through(opened).await
    }

    /// Opens a session of 2024-11-05, or the stream of one. Its id, and the stream.
    pub(super) async fn open_sse(
        &self,
        principal: &Principal,
        id: Option<&SessionId>,
        last_event_id: Option<&str>,
    ) -> Option<Result<(SessionId, Receiver<Bytes>), Refusal>> {
        let (engine, incoming) = (Arc::clone(&self.engine), self.incoming(principal, &Bytes::new()));
        let (id, last) = (id.cloned(), last_event_id.map(ToOwned::to_owned));
        let opened = async move {
            let permit = engine.stream_permit(&incoming.requester.peer)?;
            let named = id.as_ref().map(SessionId::as_str);
            let stream = engine
                .open_sse(&incoming, named, last.as_deref(), None, permit)
                .await?;
            Ok((stream.cached.id.clone(), stream.events))
        };
        self.carried_through(opened).await
    }

    /// Does it in a task of the node, as HTTP does what must not stop half way.
    async fn carried_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Option<Result<T, Refusal>> {
        let done = self.engine.work.spawn_and_wait("open-stream", work);
        let done = self.within(done).await?;
        Some(done.unwrap_or(Err(Refusal::ShuttingDown)))
    }

    /// Ends a session.
    pub(super) async fn end(&self, principal: &Principal, id: &SessionId) -> Option<Result<(), Refusal>> {
        self.within(self.engine.end_session(id, principal, None)).await
    }
}

fn reply(reply: Reply) -> Posted {
    match reply {
        Reply::Json(finished) => finished.body.map_or(Posted::Accepted, Posted::Body),
        Reply::Stream(events) => Posted::Stream(events),
        Reply::Refused(refusal) => Posted::Refused(refusal),
    }
}
