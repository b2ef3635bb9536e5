//! The composition root: settings, store and handler become a running node.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use tokio::time::interval;
use tracing::{Instrument as _, error_span, warn};

use crate::audit::Audit;
pub use crate::audit::AuditError;
use crate::cluster::Membership;
use crate::cluster::membership::JoinError;
use crate::cluster::secrets::{RequestStateKeys, SecretError};
use crate::config::{Settings, fit_shares};
use crate::engine::handler::Handler;
use crate::engine::{Engine, Parts};
use crate::http::{Authenticate, HttpService, Service};
use crate::net::admission::Entrance;
use crate::net::listener::{BoundListener, ListenError};
use crate::net::server::Server;
use crate::net::tls;
use crate::net::tls_error::TlsError;
use crate::session::{Clock, NodeId};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::{metrics, tell_left_out};

mod drain;
mod embedded;
#[cfg(feature = "cli")]
pub(crate) mod files;
mod handle;
pub(crate) mod open;
mod running;
pub(crate) mod signal;

pub use embedded::EmbeddedNode;
pub use handle::NodeHandle;
pub use running::Running;
use running::Servers;
pub use signal::Stop;
use signal::{on_hangup, told_to_stop};

/// What the lease of a node says that another program serves, where others say their address.
const EMBEDDED: &str = "an address of the program that embeds it";

/// A node: an MCP server that shares its sessions with every other node on the same store.
#[derive(Debug)]
pub struct App;

impl App {
    /// Begins to put a node together.
    ///
    /// ```no_run
    /// # use rmcp::ServerHandler;
    /// # #[derive(Default)] struct MyServer;
    /// # impl ServerHandler for MyServer {}
    /// # async fn run() -> Result<(), anynode::app::AppError> {
    /// anynode::App::builder().handler(MyServer::default).run().await
    /// # }
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
            handler: None,
            store: None,
            authenticate: None,
        }
    }
}

/// Why a node could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// No handler was given.
    #[error("no handler: call App::builder().handler(…) before the node is started")]
    NoHandler,
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] open::OpenError),
    /// The store did not do as asked.
    #[error("the store failed while the node started")]
    Store(#[from] StoreError),
    /// There is no key to seal `requestState` with.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", why_not(source))]
    Listen {
        /// The settings that name the address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// A file of the settings' `[tls]` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another process has the node's name, or has taken it.
    #[error(transparent)]
    Name(#[from] JoinError),
    /// Tokens of issuers cannot be checked.
    #[error("tokens of issuers cannot be checked")]
    Auth(#[source] Box<dyn Error + Send + Sync>),
    /// Something that the node cannot do without has ended.
    #[error("the node stopped because a task that it needs has ended; the log says which")]
    Broken,
}

/// Why an address cannot be listened on, and what to do; the system's own words follow as the cause.
fn why_not(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; stop it, or choose another",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address; choose one that it has",
        io::ErrorKind::PermissionDenied => "this user may not; choose another",
        // What the resolver says has no kind of its own.
        _ => "choose another",
    }
}

impl From<ListenError> for AppError {
    fn from(error: ListenError) -> Self {
        Self::Listen {
            address: error.address,
            source: error.source,
        }
    }
}

/// Puts a node together; see [`App::builder`].
pub struct Builder {
    settings: Settings,
    handler: Option<Arc<dyn Handler>>,
    store: Option<Arc<dyn Store>>,
    authenticate: Option<Arc<dyn Authenticate>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Builder {
    /// Uses these settings instead of the defaults. Where a peer's share is larger than the node's whole
    /// limit, because only the whole was made smaller, the share becomes four fifths of the whole.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Serves this rmcp `ServerHandler`. One serves all requests of the node, so it keeps nothing of a client
    /// in itself: that belongs in the [`Session`](crate::session::Session).
    #[must_use]
    pub fn handler<H: Handler>(mut self, make: impl FnOnce() -> H) -> Self {
        self.handler = Some(Arc::new(make()));
        self
    }

    /// Uses this store instead of the one that the settings name.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Asks this who makes each request, instead of looking for the tokens of the settings (`auth.tokens`).
    /// Sessions, streams, tasks and notebooks belong to the principal that it names.
    #[must_use]
    pub fn authenticate(mut self, authenticate: impl Authenticate) -> Self {
        self.authenticate = Some(Arc::new(authenticate));
        self
    }

    /// Runs the node until the process gets a signal to stop. On SIGTERM, calls in flight may finish. On
    /// Ctrl-C, or on a second signal, calls get 500 ms.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn run(self) -> Result<(), AppError> {
        let mut told = pin!(told_to_stop());
        let running = tokio::select! {
            running = self.spawn() => running?,
            _stop = &mut told => return Ok(()),
        };
        running.run_until(told, told_to_stop).await
    }

    /// Starts the node, and returns once it listens where the settings say.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn spawn(self) -> Result<Running, AppError> {
        let node = name(&self.settings);
        let span = error_span!("node", node = node.as_str());
        let start = async {
            metrics::install();
            let tls = tls::load(&self.settings.tls)?;
            let listener = BoundListener::bind(&self.settings).await?;
            let address = listener.address().to_owned();
            let probe_listener = match BoundListener::bind_probes(&self.settings).await {
                Ok(listener) => listener,
                Err(error) => {
                    listener.release();
                    return Err(error.into());
                }
            };
            // Boxed: what runs once must not enlarge every future that contains this one.
            let handle = match Box::pin(self.start(node, &address)).await {
                Ok(handle) => handle,
                Err(error) => {
                    listener.release();
                    if let Some(probe_listener) = probe_listener {
                        probe_listener.release();
                    }
                    return Err(error);
                }
            };
            let settings = &handle.engine.settings.http;
            let (connections_max, entrance) =
                (settings.connections_max, Entrance::new(settings, tls.clone()));
            if let Some(tls) = tls {
                handle
                    .engine
                    .supervisor
                    .spawn_vital("tls-files", tls::keep_fresh(tls, handle.engine.audit.clone()));
            }
            let http = HttpService::new(handle.service.clone());
            let probes = probe_listener.map(|listener| Server::start_probes(listener, http.clone()));
            let clients = Server::start(listener, http, connections_max, entrance);
            Ok(Running::new(handle, Servers { clients, probes }))
        };
        start.instrument(span).await
    }

    /// Starts the node for a program that has its own listener. The router serves `/mcp`, `/sse` and
    /// `/messages`; nest it under any path, and put any layer around it. Serve it with
    /// [`ConnectInfo`](axum::extract::ConnectInfo), or all clients without credentials count as one peer. The
    /// `Host` header is checked as by a node that listens where the settings say, on loopback unless `host` is
    /// set; `http.allowed_hosts` names other hosts.
    ///
    /// ```no_run
    /// # use rmcp::ServerHandler;
    /// # #[derive(Default)] struct MyServer;
    /// # impl ServerHandler for MyServer {}
    /// use std::net::SocketAddr;
    ///
    /// # async fn run(listener: tokio::net::TcpListener, told: impl Future<Output = ()> + Send + 'static)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let (mcp, node) = anynode::App::builder().handler(MyServer::default).build().await?;
    /// let program = axum::Router::new().nest("/tools", mcp).merge(node.probes());
    /// let (broken, draining) = (node.broken(), node.drain());
    /// let program = program.into_make_service_with_connect_info::<SocketAddr>();
    /// let server = axum::serve(listener, program).with_graceful_shutdown(async {
    ///     tokio::select! {
    ///         () = told => {}
    ///         _error = broken => {}
    ///     }
    ///     draining.await;
    /// });
    /// tokio::select! {
    ///     served = async { server.await } => served?,
    ///     () = node.drained() => {}
    /// }
    /// node.stop().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn build(self) -> Result<(Router, EmbeddedNode), AppError> {
        let node = name(&self.settings);
        let span = error_span!("node", node = node.as_str());
        let start = async {
            metrics::install();
            let handle = Box::pin(self.start(node, EMBEDDED)).await?;
            Ok(EmbeddedNode::new(handle))
        };
        start.instrument(span).await
    }

    /// Starts a node that is reached at that address, and serves nothing yet.
    async fn start(self, node: NodeId, address: &str) -> Result<NodeHandle, AppError> {
        let handler = self.handler.ok_or(AppError::NoHandler)?;
        for fault in handler.faults() {
            warn!("{fault}");
        }
        let settings = fit_shares(self.settings);
        let store = match self.store {
            Some(store) => store,
            None => open::store(&settings).await?,
        };
        let audit = Audit::open(&settings.audit, &node)?;
        let membership = Arc::new(Membership::new(node, address));
        membership.join(store.as_ref()).await?;
        let supervisors = [(); 2].map(|()| Supervisor::new(membership.node().as_str()));
        // A node that fails to start leaves no task behind.
        let owned = supervisors.each_ref().map(Supervisor::kill_on_drop);
        let keys = request_state_keys(&settings, store.as_ref(), membership.clock()).await?;
        let [supervisor, work] = supervisors;
        let engine = Engine::new(Parts {
            settings,
            handler,
            store,
            membership,
            keys,
            supervisor,
            work,
            audit: audit.clone(),
        });
        engine.supervisor.spawn_vital("metrics", upkeep());
        engine.supervisor.spawn_vital("audit", audit.clone().keep());
        if audit.has_file() {
            engine
                .supervisor
                .spawn_vital("audit-file", on_hangup(move || audit.reopen()));
        }
        engine.start().await?;
        warn_of_surroundings(engine.store.as_ref()).await;
        let service = Service::new(Arc::clone(&engine), self.authenticate)
            .map_err(|error| AppError::Auth(error.into()))?;
        Ok(NodeHandle::new(engine, service, owned))
    }
}

/// The node's name from the settings, or else a fresh one.
fn name(settings: &Settings) -> NodeId {
    NodeId::parse(&settings.node_id).unwrap_or_else(|| NodeId::generate(Clock::of_this_machine().now_ms()))
}

/// The keys that seal `requestState`: the one in the settings, or else those that all nodes share.
async fn request_state_keys(
    settings: &Settings,
    store: &dyn Store,
    clock: &Clock,
) -> Result<RequestStateKeys, SecretError> {
    match settings.request_state.secret.as_str() {
        "" => RequestStateKeys::shared(store, settings.request_state.ttl, clock.clone()).await,
        secret => RequestStateKeys::configured(secret, clock.clone()),
    }
}

/// Folds histograms now and then, even if nobody scrapes: they keep every value until they are folded.
async fn upkeep() {
    let mut ticks = interval(metrics::UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        metrics::upkeep();
        tell_left_out();
    }
}

/// Warns of a store that may evict sessions in use, and of nodes that use another prefix, perhaps by mistake.
async fn warn_of_surroundings(store: &dyn Store) {
    let Ok(report) = store.report().await else { return };
    if !report.other_prefixes.is_empty() {
        warn!(
            prefixes = ?report.other_prefixes,
            "other nodes use this store with another store.prefix: those nodes and this one cannot find each other's sessions"
        );
    }
    if let Some(policy) = report
        .eviction_policy
        .filter(|policy| policy.starts_with("allkeys-"))
    {
        warn!(
            policy,
            "the store may evict sessions in use: set maxmemory-policy to noeviction or volatile-ttl"
        );
    }
}
