//! HTTP: the route table, and what every endpoint shares.
//!
//! | route | what |
//! |---|---|
//! | `POST /mcp` | one JSON-RPC message, of either era |
//! | `GET /mcp` | the standalone stream of a session, or a reply's stream taken up again |
//! | `DELETE /mcp` | ends a session |
//! | `GET /sse` | opens or takes up the one stream of a session of 2024-11-05 |
//! | `POST /messages`, `/sse/messages` | one JSON-RPC message of such a session |
//! | `GET /` | what this server is, in words |
//! | `GET /.well-known/oauth-protected-resource` and below | who issues tokens for this server, for everybody (RFC 9728) |
//! | `GET /.well-known/oauth-authorization-server` | the same for clients of 2025-03-26, with `auth.mirror` |
//! | `GET /health`, `/livez`, `/readyz` | for operators and balancers |
//! | `GET /metrics` | for Prometheus |
//!
//! `http.probe_listen` moves `/health` and `/metrics` to an address of their own, where `/livez` and `/readyz` are too.

use std::convert::Infallible;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::response::Response;
use futures::FutureExt as _;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, ORIGIN};
use http::{HeaderValue, Method, Request, Version};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;

use crate::auth::{METADATA, OAuthError};
use crate::engine::Engine;
use crate::engine::shares::PeerUse;
use crate::protocol::error::Refusal;
use crate::random::HashState;

mod admit;
mod audited;
mod authenticate;
mod body;
mod cors;
mod guard;
mod health;
mod index;
mod limits;
mod log;
mod mcp;
mod media;
mod metadata;
mod mount;
mod request_line;
pub(crate) mod response;
mod routes;
pub(crate) mod source;
mod sse;
mod watch;

use audited::AuditedRequest;
pub use authenticate::{Authenticate, Challenge};
use cors::Cors;
use guard::Guard;
pub(crate) use guard::is_loopback;
pub(crate) use mount::MountedService;
use request_line::RequestLine;
pub(crate) use response::RawStream;
use source::{Connected, Purpose, Source};

/// What this server is, for people.
const ROOT: &str = "/";
/// Where clients' messages and streams arrive. One slash after each path is served too.
const MCP: &str = "/mcp";
const SSE: &str = "/sse";
const MESSAGES: &str = "/messages";
/// Where a client posts that was told `messages` by `/sse/`.
const MESSAGES_BELOW: &str = "/sse/messages";
/// Where clients connect and post.
const CLIENTS: [&str; 4] = [MCP, SSE, MESSAGES, MESSAGES_BELOW];
/// Where clients of 2025-03-26 look for the authorization server.
const ISSUER_METADATA: &str = "/.well-known/oauth-authorization-server";
/// The paths that are served even if the node has no room for more connections.
const HEALTH: &str = "/health";
const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";
const METRICS: &str = "/metrics";
const PROBES: [&str; 4] = [HEALTH, LIVEZ, READYZ, METRICS];
/// Those that tell of what goes on inside. Balancers need none of them, and ask the others where they send
/// clients to: that another address answers proves nothing of that one.
const INSIDE: [&str; 2] = [HEALTH, METRICS];

/// The service behind every connection of a node: its routes, and what they share. Clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    inner: Arc<ServiceInner>,
}

/// The engine, and what only HTTP knows.
#[derive(Debug)]
pub(crate) struct ServiceInner {
    engine: Arc<Engine>,
    /// Who may call, and from where.
    guard: Guard,
    /// How clients are told apart.
    hashes: HashState,
    /// When the node started.
    started: Instant,
    /// When a client's request came last, in milliseconds after that.
    last_request_ms: AtomicU64,
}

impl Deref for Service {
    type Target = ServiceInner;

    fn deref(&self) -> &ServiceInner {
        &self.inner
    }
}

impl Service {
    /// The service of an engine, which asks `authenticate` who makes each request, or else looks for the tokens
    /// of the settings.
    ///
    /// # Errors
    /// [`OAuthError`].
    pub(crate) fn new(
        engine: Arc<Engine>,
        authenticate: Option<Arc<dyn Authenticate>>,
    ) -> Result<Self, OAuthError> {
        let server = &engine.info.server_info;
        let name = server.title.as_ref().unwrap_or(&server.name);
        let (guard, tasks) = Guard::new(&engine.settings, authenticate, name)?;
        tasks.start(&engine.supervisor, &engine.audit);
        Ok(Self {
            inner: Arc::new(ServiceInner {
                guard,
                hashes: HashState::default(),
                engine,
                started: Instant::now(),
                last_request_ms: AtomicU64::new(0),
            }),
        })
    }

    /// Notes that a client's request has come.
    fn note_request(&self, now: Instant) {
        let since = now.saturating_duration_since(self.started);
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.last_request_ms.store(now_ms, Ordering::Relaxed);
    }

    /// How long no client's request has come.
    #[must_use]
    pub(crate) fn quiet_for(&self) -> Duration {
        let last = Duration::from_millis(self.last_request_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    /// Whether a trusted proxy connects from there, for many clients.
    #[must_use]
    pub(crate) fn trusts(&self, source: Source) -> bool {
        self.guard.trusts(source)
    }

    /// Notes for alarms that somebody speaks as only trusted proxies may.
    pub(crate) fn note_spoofed(&self, source: Source) {
        self.engine.audit.alarms().spoofed_header(&source.peer());
    }

    /// What the other end of a connection uses of the node.
    #[must_use]
    pub(crate) fn uses(&self, source: Source) -> Arc<PeerUse> {
        self.engine.shares.of(source.peer())
    }

    /// How long a connection may be idle between two requests.
    #[must_use]
    pub(crate) fn keep_alive(&self) -> Duration {
        self.engine.settings.http.keep_alive
    }

    /// Whether health and metrics have an address of their own.
    fn has_probe_address(&self) -> bool {
        !self.engine.settings.http.probe_listen.is_empty()
    }

    /// The paths for operators and balancers.
    pub(crate) fn probes(&self) -> Router {
        routes::probes(self)
    }
}

/// What answers the requests of a connection.
#[derive(Debug, Clone)]
pub(crate) struct HttpService {
    service: Service,
    routes: TowerToHyperService<Router>,
    cors: Cors,
}

impl HttpService {
    /// That of a service.
    #[must_use]
    pub(crate) fn new(service: Service) -> Self {
        let routes = TowerToHyperService::new(routes::all(&service));
        Self {
            service,
            routes,
            cors: Cors::new(),
        }
    }

    /// What all connections share.
    #[must_use]
    pub(crate) const fn service(&self) -> &Service {
        &self.service
    }

    /// Answers one request that comes on that connection. Not layers of the router: each is a box and a copy
    /// of the request.
    ///
    /// # Errors
    /// Never; hyper asks for an error type.
    pub(crate) async fn answer(
        &self,
        request: Request<HttpBody>,
        connected: &Connected,
    ) -> Result<Response, Infallible> {
        let once = connected.purpose != Purpose::Clients;
        // From HTTP/2 on, as a program that embeds the node may serve it, no answer is of its connection.
        let multiplexed = request.version() >= Version::HTTP_2;
        // Handlers are guarded one by one; this is for a mistake of the server's own.
        let guarded = |request| AssertUnwindSafe(self.route(request, connected)).catch_unwind();
        let answered = match request.headers().get(ORIGIN) {
            Some(origin) if self.lets_read(origin, &request, once) => {
                let answer = async |request| guarded(request).await.unwrap_or_else(response::panicked);
                Ok(Box::pin(self.cors.answer(request, answer)).await)
            }
            _ => guarded(request).await,
        };
        let mut response = answered.unwrap_or_else(response::panicked);
        // While the node drains, each answer asks for the end of its connection: its client goes elsewhere
        // with its next request, before the node closes the connection under one. A place that is kept back
        // for health checks is needed for the next.
        if (once || self.service.engine.is_draining()) && !multiplexed {
            let close = HeaderValue::from_static("close");
            drop(response.headers_mut().insert(CONNECTION, close));
        }
        Ok(response)
    }

    /// Whether a page of that origin may call, and read the answer. Of the requests for `OPTIONS` only
    /// preflights are answered for it, and none on a connection that is only for health checks.
    fn lets_read(&self, origin: &HeaderValue, request: &Request<HttpBody>, only_probes: bool) -> bool {
        let is_preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) && !only_probes;
        self.service.guard.allows(origin)
            && !is_metadata(request.uri().path())
            && trimmed(request.uri().path()) != METRICS
            && (request.method() != Method::OPTIONS || is_preflight)
    }

    async fn route(&self, mut request: Request<HttpBody>, connected: &Connected) -> Response {
        AuditedRequest::put(&self.service, &mut request, connected);
        let (began, path) = (Instant::now(), trimmed(request.uri().path()));
        let refused = match connected.purpose {
            Purpose::Spare(full) if !PROBES.contains(&path) => Some(full.into()),
            Purpose::Probes if !PROBES.contains(&path) => Some(Refusal::NoSuchPath(index::ONLY_PROBES)),
            _ => None,
        };
        if let Some(refusal) = refused {
            let line = RequestLine::of(request.method(), request.uri());
            let asker = AuditedRequest::of(request.extensions());
            return log::refuse_asker(&self.service, line, asker.as_deref(), &refusal);
        }
        // Nearly all requests are these: they take the shortest way.
        if path == MCP && request.method() == Method::POST {
            self.service.note_request(began);
            return mcp::answer(&self.service, request, connected, began).await;
        }
        if connected.purpose != Purpose::Probes && self.service.has_probe_address() && INSIDE.contains(&path)
        {
            let line = RequestLine::of(request.method(), request.uri());
            return log::refuse(&self.service, line, &index::no_such_path(&self.service));
        }
        // Not health checks, which never end.
        if CLIENTS.contains(&path) && ![Method::HEAD, Method::OPTIONS].contains(request.method()) {
            self.service.note_request(began);
        }
        request.extensions_mut().insert(connected.clone());
        match self.routes.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Whether a path is one of those that everybody may read.
fn is_metadata(path: &str) -> bool {
    path.starts_with(METADATA) || path == ISSUER_METADATA
}

/// A path without the slash that may follow it.
fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}
