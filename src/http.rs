//! The HTTP face: the route table, and what every endpoint shares.
//!
//! | route | what |
//! |---|---|
//! | `POST /mcp` | one JSON-RPC message, of either era |
//! | `GET /mcp` | the standalone stream of a session, or a reply's stream taken up again |
//! | `DELETE /mcp` | ends a session |
//! | `GET /sse` | opens or takes up the one stream of a session of 2024-11-05 |
//! | `POST /messages` | one JSON-RPC message of such a session |
//! | `GET /health`, `/livez`, `/readyz` | for operators and balancers |
//! | `GET /metrics` | for Prometheus |

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::response::Response;
use axum::routing::{get, post};
use futures::FutureExt as _;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use rmcp::model::ServerConfig;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::secrets::RequestStateKeys;
use crate::cluster::{Membership, Sessions};
use crate::config::Settings;
use crate::session::state::StateStore;
use crate::session::tasks::RunTasks;
use crate::session::{Announcer, NodeId, Notebooks, Peer, Principal, RequestState, Tasks};
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::transport::call::Runner;
use crate::transport::shares::{PeerUse, Shares};
use crate::transport::switchboard::Switchboard;
use crate::transport::tasks::TaskBoard;

pub mod answer;
mod aside;
pub mod attach;
pub mod body;
pub mod guard;
pub mod health;
pub mod initialize;
pub mod legacy;
pub mod mcp;
pub mod modern;
mod noted;
pub mod recovery;
pub mod source;
pub mod sse;
pub mod stream;

use source::{Connected, Source};

/// What every request of a node shares.
#[derive(Debug)]
pub struct Shared {
    /// This node.
    pub node: NodeId,
    /// Its settings.
    pub settings: Settings,
    /// What the handler says of itself.
    pub info: ServerConfig,
    /// The sessions of all nodes.
    pub sessions: Sessions,
    /// The store.
    pub store: Arc<dyn Store>,
    /// This node among the others, and how the store does.
    pub membership: Arc<Membership>,
    /// The keys that seal `requestState`.
    pub keys: Arc<RequestStateKeys>,
    /// Where calls and streams are found, here or on any node.
    pub board: Arc<Switchboard>,
    /// What runs calls.
    pub runner: Arc<Runner>,
    /// What the node has room for, and who has taken what of it.
    pub shares: Arc<Shares>,
    /// Who may call, and from where.
    pub guard: guard::Guard,
    /// The owner of the tasks that the node cannot do without.
    pub supervisor: Supervisor,
    /// The owner of calls and streams, which finish first when the node stops.
    pub work: Supervisor,
    /// When the node started.
    pub started: Instant,
    /// When a client's request came last, in milliseconds after that.
    pub last_request_ms: AtomicU64,
    /// Fires when the node begins to shut down.
    pub draining: CancellationToken,
    /// Fires when balancers have had time to notice: streams are sent elsewhere.
    pub leaving: CancellationToken,
    /// Fires when calls have had the time that they may take: those that are left are handed over, if there is anyone to
    /// hand them to.
    pub deadline: CancellationToken,
}

impl Shared {
    /// Whether the node is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The time by the store's clock, in unix milliseconds: what other nodes may compare with theirs.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.membership.clock().now_ms()
    }

    /// Notes that a client's request has come.
    fn note_request(&self, now: Instant) {
        let since = now.saturating_duration_since(self.started);
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.last_request_ms.store(now_ms, Ordering::Relaxed);
    }

    /// How long no client's request has come.
    #[must_use]
    pub fn quiet_for(&self) -> Duration {
        let last = Duration::from_millis(self.last_request_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    /// The notebooks of a principal; those that are opened count for that peer.
    #[must_use]
    pub fn notebooks(&self, principal: &Principal, peer: &Peer) -> Notebooks {
        let store: Arc<dyn StateStore> = Arc::<dyn Store>::clone(&self.store);
        let settings = &self.settings.notebook;
        Notebooks::new(store, principal.clone(), settings.ttl).counted(peer.clone(), settings.peer_max)
    }

    /// The tasks of a principal, begun by that peer.
    #[must_use]
    pub fn tasks(&self, principal: &Principal, peer: &Peer) -> Tasks {
        let runner: Arc<dyn RunTasks> = Arc::<TaskBoard>::clone(&self.board.tasks);
        Tasks::new(runner, principal.clone(), peer.clone(), self.settings.task.ttl)
    }

    /// Fires when clients should have replies carried on by another node; never when there can be none.
    #[must_use]
    pub fn handing_over(&self) -> CancellationToken {
        if self.store.profile().is_shared {
            self.leaving.clone()
        } else {
            CancellationToken::new()
        }
    }

    /// What announces changes.
    #[must_use]
    pub fn announcer(&self) -> Announcer {
        Announcer::new(Arc::<Switchboard>::clone(&self.board))
    }

    /// What seals `requestState` now.
    #[must_use]
    pub fn request_state(&self) -> RequestState {
        let clock = self.membership.clock().clone();
        RequestState::new(self.keys.codec(), clock, self.settings.request_state.ttl)
    }

    /// The part of the store that keeps handlers' state.
    #[must_use]
    pub fn states(&self) -> Arc<dyn StateStore> {
        Arc::<dyn Store>::clone(&self.store)
    }
}

/// Where clients' messages and streams arrive.
const MCP: &str = "/mcp";
const SSE: &str = "/sse";
const MESSAGES: &str = "/messages";
/// What is answered even if the node has no room for more connections.
const HEALTH: &str = "/health";
const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";
const METRICS: &str = "/metrics";
const PROBES: [&str; 4] = [HEALTH, LIVEZ, READYZ, METRICS];

/// What every connection of a node asks: its routes, and what goes for all of them.
#[derive(Debug, Clone)]
pub struct Front {
    shared: Arc<Shared>,
    routes: TowerToHyperService<Router>,
}

impl Front {
    /// The face of a node.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let routes = Router::new()
            .route(
                MCP,
                // `POST` does not come here, see `route`. It is named for what the other methods are told.
                post(mcp::post)
                    .get(mcp::get)
                    .delete(mcp::delete)
                    .fallback(mcp::other_method),
            )
            .route(SSE, get(sse::get).fallback(sse::not_get))
            .route(MESSAGES, post(sse::post).fallback(sse::not_post))
            .route(HEALTH, get(health::health))
            .route(LIVEZ, get(health::livez))
            .route(READYZ, get(health::readyz))
            .route(METRICS, get(health::metrics))
            .fallback(mcp::not_found)
            .with_state(Arc::clone(&shared));
        Self {
            shared,
            routes: TowerToHyperService::new(routes),
        }
    }

    /// Whether the connections from there are many clients', for whom a trusted proxy speaks.
    #[must_use]
    pub fn trusts(&self, source: Source) -> bool {
        self.shared.guard.trusts(source)
    }

    /// What the other end of a connection uses of the node.
    #[must_use]
    pub fn uses(&self, source: Source) -> Arc<PeerUse> {
        self.shared.shares.of(source.peer())
    }

    /// Answers one request that comes on that connection. Not layers of the router: each is a box and a copy of the request.
    ///
    /// # Errors
    /// Never; hyper wants to be told so.
    pub async fn answer(
        &self,
        request: Request<HttpBody>,
        connected: &Connected,
    ) -> Result<Response, Infallible> {
        let once = connected.full.is_some();
        // Handlers are guarded one by one; this is for a mistake of the server's own.
        let answered = AssertUnwindSafe(self.route(request, connected))
            .catch_unwind()
            .await;
        let mut response = answered.unwrap_or_else(answer::panicked);
        // While the node drains, each answer asks for the end of its connection: whoever keeps it open, a client that no
        // balancer stands before say, goes elsewhere with its next request, before the node closes it under one. A place that is
        // kept back for questions after the node's health is needed for the next.
        if once || self.shared.is_draining() {
            let close = HeaderValue::from_static("close");
            drop(response.headers_mut().insert(CONNECTION, close));
        }
        Ok(response)
    }

    async fn route(&self, mut request: Request<HttpBody>, connected: &Connected) -> Response {
        let (began, path) = (Instant::now(), request.uri().path());
        if let Some(full) = connected.full
            && !PROBES.contains(&path)
        {
            return answer::refusal(&full.into(), None);
        }
        // Not health checks, which never end.
        if [MCP, SSE, MESSAGES].contains(&path) {
            self.shared.note_request(began);
        }
        // Nearly all requests are these: they take the shortest way.
        if path == MCP && request.method() == Method::POST {
            return mcp::answer(&self.shared, request, connected, began).await;
        }
        request.extensions_mut().insert(connected.clone());
        match self.routes.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
