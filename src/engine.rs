//! Everything that a node does with a JSON-RPC message. HTTP parses and prints; nothing here names one of its
//! types.
//!
//! A message comes in through [`handshake`] and [`dispatch`] (revisions with sessions), [`modern`]
//! (2026-07-28) or [`legacy_sse`] (2024-11-05). [`call`] runs it, [`reply`] decides what its client gets,
//! [`durable_call`] registers and logs what must outlive this node, [`stream_writer`] writes a log to a
//! client.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{ServerConfig, Tool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::cluster::secrets::RequestStateKeys;
use crate::cluster::{Membership, RateLimits, Sessions};
use crate::config::Settings;
use crate::protocol::revisions::Revisions;
use crate::session::tasks::RunTasks;
use crate::session::{Announcer, NodeId, Notebooks, Peer, Principal, RequestState, SessionId, Tasks};
use crate::store::calls::{Begun, CallRecord};
use crate::store::streams::Holder;
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics;

pub(crate) mod attach;
pub(crate) mod call;
pub(crate) mod call_transport;
pub(crate) mod calls;
mod cancel;
pub(crate) mod changes;
pub(crate) mod dispatch;
pub(crate) mod durable_call;
pub(crate) mod handler;
pub(crate) mod handshake;
pub(crate) mod incoming;
mod leave;
pub(crate) mod legacy_sse;
pub(crate) mod local_streams;
pub(crate) mod loss;
pub(crate) mod messages;
pub(crate) mod modern;
pub(crate) mod no_peer;
pub(crate) mod notify;
pub(crate) mod open_requests;
pub(crate) mod open_stream;
mod pages;
pub(crate) mod pending_call;
mod question;
mod refusal;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod running_call;
pub(crate) mod session_outbox;
pub(crate) mod shares;
#[cfg(test)]
mod simulation;
pub(crate) mod stream_writer;
pub(crate) mod takeover;
pub(crate) mod tasks;
mod unknown_method;
mod unlogged_stream;
pub(crate) mod watch;
mod whole_numbers;

use calls::RunningCalls;
use changes::Listeners;
use handler::Handler;
use local_streams::LocalStreams;
use messages::MessagesAtWork;
use no_peer::SharedPeers;
use shares::Shares;
use tasks::RunningTasks;

/// What every message of a node shares.
#[derive(Debug)]
pub(crate) struct Engine {
    /// This node.
    pub node: NodeId,
    /// Its settings.
    pub settings: Settings,
    /// The revisions that it serves.
    pub revisions: Revisions,
    /// The handler.
    pub handler: Arc<dyn Handler>,
    /// What the handler says of itself.
    pub info: ServerConfig,
    /// The store.
    pub store: Arc<dyn Store>,
    /// This node among the others, and how the store does.
    pub membership: Arc<Membership>,
    /// The sessions of all nodes.
    pub sessions: Sessions,
    /// The keys that seal `requestState`.
    pub keys: Arc<RequestStateKeys>,
    /// The streams that connections of this node carry.
    pub streams: Arc<LocalStreams>,
    /// The calls that this node runs.
    pub calls: Arc<RunningCalls>,
    /// The tasks that this node runs.
    pub tasks: RunningTasks,
    /// The open `subscriptions/listen` requests of this node.
    pub listeners: Arc<Listeners>,
    /// The messages of other nodes that make this one ask the store.
    pub messages: MessagesAtWork,
    /// The node's limits, and what each peer has taken.
    pub shares: Arc<Shares>,
    /// How often clients may ask, over all nodes.
    pub limits: RateLimits,
    /// How calls are measured.
    pub measures: Arc<metrics::Requests>,
    /// The peers of calls that send nothing before their result.
    pub silent: SharedPeers,
    /// The owner of the tasks that the node cannot do without.
    pub supervisor: Supervisor,
    /// The owner of calls and streams, which finish first when the node stops.
    pub work: Supervisor,
    /// Where it is noted who did what.
    pub audit: Audit,
    /// How far the node is with stopping.
    pub stopping: Stopping,
}

/// How far a node is with stopping. Each fires once, in this order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopping {
    /// The node begins to stop.
    pub draining: CancellationToken,
    /// Balancers have had time to notice: streams are sent elsewhere.
    pub leaving: CancellationToken,
    /// The deadline of calls has passed. Calls that are left go to other nodes, if there are any.
    pub deadline: CancellationToken,
    /// The time of tasks (SEP-2663) has passed. Tasks that are left stop now, and their records say so.
    pub tasks: CancellationToken,
}

/// The parts of an engine that its maker provides. The engine makes the rest.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Its settings.
    pub settings: Settings,
    /// The handler.
    pub handler: Arc<dyn Handler>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// This node among the others. It has joined them.
    pub membership: Arc<Membership>,
    /// The keys that seal `requestState`.
    pub keys: RequestStateKeys,
    /// The owner of the tasks that the node cannot do without.
    pub supervisor: Supervisor,
    /// The owner of calls and streams.
    pub work: Supervisor,
    /// The audit log, and alarms.
    pub audit: Audit,
}

impl Engine {
    /// An engine that runs nothing yet. Needs a runtime.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            settings,
            handler,
            store,
            membership,
            keys,
            supervisor,
            work,
            audit,
        } = parts;
        let (kept, members) = (Arc::clone(&store), Arc::clone(&membership));
        let (rates, is_shared) = (Arc::<dyn Store>::clone(&store), store.profile().is_shared);
        Arc::new(Self {
            node: membership.node().clone(),
            info: handler.info(),
            sessions: Sessions::new(kept, members, &settings, supervisor.clone(), audit.clone()),
            shares: Arc::new(Shares::new(&settings)),
            limits: RateLimits::new(
                &settings.limit,
                rates,
                is_shared,
                supervisor.clone(),
                audit.clone(),
            ),
            revisions: Revisions::of(&settings.protocol.revisions),
            keys: Arc::new(keys),
            streams: Arc::default(),
            calls: Arc::default(),
            tasks: RunningTasks::default(),
            listeners: Arc::default(),
            messages: MessagesAtWork::default(),
            measures: Arc::default(),
            silent: SharedPeers::open(),
            stopping: Stopping::default(),
            settings,
            handler,
            store,
            membership,
            supervisor,
            work,
            audit,
        })
    }

    /// Begins to take part: receives messages of other nodes, takes over what a former life of this node has
    /// left, and starts its regular checks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), StoreError> {
        let store = || Arc::clone(&self.store);
        let membership = || Arc::clone(&self.membership);
        let messages = self.store.listen(&self.node).await?;
        let vital = &self.supervisor;
        vital.spawn_vital("membership", membership().keep(store()));
        vital.spawn_vital("stalls", membership().watch());
        let listening = self.sessions.clone().listen(messages, Arc::<Self>::clone(self));
        vital.spawn_vital("messages", listening);
        takeover::reclaim_own(self).await?;
        vital.spawn_vital("changes", Arc::clone(self).keep_telling());
        vital.spawn_vital("takeover", takeover::keep(Arc::clone(self)));
        vital.spawn_vital("sweep", self.sessions.clone().sweep());
        if self.settings.request_state.secret.is_empty() {
            let keys = RequestStateKeys::follow(Arc::clone(&self.keys), store());
            vital.spawn_vital("secrets", keys);
        }
        Ok(())
    }

    /// Whether the node is shutting down.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.stopping.draining.is_cancelled()
    }

    /// The time by the store's clock, in unix milliseconds: what other nodes may compare with theirs.
    #[must_use]
    pub(crate) fn now_ms(&self) -> u64 {
        self.membership.clock().now_ms()
    }

    /// How long a session lives after its last use, and with it the note of what it was told.
    #[must_use]
    pub(crate) const fn session_ttl(&self) -> Duration {
        self.settings.session.ttl
    }

    /// How long the events of a stream live that nobody carries.
    #[must_use]
    pub(crate) const fn stream_ttl(&self) -> Duration {
        self.settings.stream.ttl
    }

    /// How long a write waits for a store that is away, before it is given up.
    #[must_use]
    pub(crate) const fn patience(&self) -> Duration {
        self.settings.store.outage_grace
    }

    /// Registers a call, which began at `began`, as this node's. Refused while this node's lease may have
    /// ended: others may have forgotten this node, and nobody would take over its calls if it died now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn register(
        &self,
        session: &SessionId,
        call: &CallRecord,
        began: Instant,
        holder: Option<&Holder>,
    ) -> Result<Begun, StoreError> {
        if !self.membership.is_valid() {
            return Err(StoreError::Unreachable("this node's lease has ended".into()));
        }
        let (age, ttl) = (began.elapsed(), self.session_ttl());
        self.store.call_begin(session, call, age, holder, ttl).await
    }

    /// A tool's definition.
    #[must_use]
    pub(crate) fn tool(&self, name: &str) -> Option<Tool> {
        self.handler.tool(name)
    }

    /// The notebooks of a principal; a new one counts for that peer.
    #[must_use]
    pub(crate) fn notebooks(&self, principal: &Principal, peer: &Peer) -> Notebooks {
        let settings = &self.settings.notebook;
        Notebooks::new(self.sessions.states(), principal.clone(), settings.ttl)
            .counted(peer.clone(), settings.peer_max)
    }

    /// The tasks of a principal, begun by that peer.
    #[must_use]
    pub(crate) fn tasks_of(self: &Arc<Self>, principal: &Principal, peer: &Peer) -> Tasks {
        let runner: Arc<dyn RunTasks> = Arc::<Self>::clone(self);
        Tasks::new(runner, principal.clone(), peer.clone(), self.settings.task.ttl)
    }

    /// Fires when other nodes should carry on replies; never when there can be no other node.
    #[must_use]
    pub(crate) fn handing_over(&self) -> CancellationToken {
        if self.store.profile().is_shared {
            self.stopping.leaving.clone()
        } else {
            CancellationToken::new()
        }
    }

    /// What announces changes.
    #[must_use]
    pub(crate) fn announcer(self: &Arc<Self>) -> Announcer {
        Announcer::new(Arc::<Self>::clone(self))
    }

    /// What seals `requestState` now.
    #[must_use]
    pub(crate) fn request_state(&self) -> RequestState {
        let clock = self.membership.clock().clone();
        RequestState::new(self.keys.codec(), clock, self.settings.request_state.ttl)
    }
}
