//! `/mcp`: one pipeline for both eras. Admit, read, parse, classify; then only where the context comes from differs.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Request as HttpRequest, StatusCode};
use rmcp::model::RequestId;
use tokio::time::Instant;
use tracing::{Instrument as _, Level, Span, debug, enabled, field, info_span, record_all};

use super::source::Connected;
use super::{Shared, answer, body, initialize, legacy, modern, stream};
use crate::protocol::classify::{Context, Signs, classify};
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::Refusal;
use crate::protocol::headers::VERSION_HEADER;
use crate::protocol::message::{Body, Message, Request};
use crate::session::Principal;
use crate::transport::reply::ReplyTimes;
use crate::transport::request::Peek;
use crate::transport::shares::{PeerUse, Resource, Share};

/// The session's header (2025-11-25, Transports, "Session Management").
pub(crate) static SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
const ALLOWED: &str = "GET, POST, DELETE";

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) parts: Parts,
    pub(crate) principal: Principal,
    /// When it came.
    pub(crate) began: Instant,
    /// The peer it counts for.
    pub(crate) peer: Arc<PeerUse>,
    /// The body, if it is small enough to be kept for another node; else empty.
    pub(crate) body: Bytes,
}

impl Came {
    /// Lets a request in that came on that connection at `began`, without its body.
    pub(super) fn admit(
        shared: &Shared,
        parts: Parts,
        connected: &Connected,
        began: Instant,
    ) -> Result<Self, Refusal> {
        let principal = shared.guard.admit(&parts.headers, &parts.uri)?;
        let peer = shared
            .guard
            .peer(&principal, &parts.headers, connected, &shared.shares);
        Ok(Self {
            parts,
            principal,
            began,
            peer,
            body: Bytes::new(),
        })
    }
}

/// A refusal of the request of that id, if it is known.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Refusal, pub(crate) Option<RequestId>);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal, None)
    }
}

pub(crate) async fn post(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    match Connected::of(&request) {
        Ok(connected) => answer(&shared, request, &connected, Instant::now()).await,
        Err(refusal) => answer::refusal(&refusal, None),
    }
}

/// The answer to a `POST`.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    request: HttpRequest<HttpBody>,
    connected: &Connected,
    began: Instant,
) -> Response {
    let span = span(shared);
    async move {
        let response = serve(shared, request, connected, began)
            .await
            .unwrap_or_else(|Refused(refusal, id)| answer::refusal(&refusal, id.as_ref()));
        finish(began, &response);
        response
    }
    .instrument(span)
    .await
}

pub(crate) async fn delete(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    let span = span(&shared);
    let began = Instant::now();
    async move {
        let ended = async {
            let connected = Connected::of(&request)?;
            let came = Came::admit(&shared, request.into_parts().0, &connected, began)?;
            legacy::end(&shared, &came).await
        };
        let response = match ended.await {
            Ok(()) => answer::empty(StatusCode::NO_CONTENT),
            Err(refusal) => answer::refusal(&refusal, None),
        };
        finish(began, &response);
        response
    }
    .instrument(span)
    .await
}

pub(crate) async fn get(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    let span = span(&shared);
    let began = Instant::now();
    async move {
        let opened = async {
            let connected = Connected::of(&request)?;
            let came = Came::admit(&shared, request.into_parts().0, &connected, began)?;
            let (shared, work) = (Arc::clone(&shared), shared.work.clone());
            // A client that hangs up must not leave a stream that seems to be carried.
            let opened = async move { stream::open(&shared, came).await };
            let opened = work.see_through("open-stream", opened).await;
            opened.unwrap_or(Err(Refusal::ShuttingDown))
        };
        let response = opened
            .await
            .unwrap_or_else(|refusal| answer::refusal(&refusal, None));
        finish(began, &response);
        response
    }
    .instrument(span)
    .await
}

pub(crate) async fn other_method(
    State(shared): State<Arc<Shared>>,
    request: HttpRequest<HttpBody>,
) -> Response {
    let (parts, _) = request.into_parts();
    match shared.guard.admit(&parts.headers, &parts.uri) {
        Ok(_) => answer::refusal(&Refusal::MethodNotAllowed(ALLOWED), None),
        Err(refusal) => answer::refusal(&refusal, None),
    }
}

pub(crate) async fn not_found() -> Response {
    answer::empty(StatusCode::NOT_FOUND)
}

pub(super) fn span(shared: &Shared) -> Span {
    info_span!(
        "request",
        node = shared.node.as_str(),
        session = field::Empty,
        era = field::Empty,
        method = field::Empty,
        duration_ms = field::Empty,
    )
}

pub(super) fn finish(began: Instant, response: &Response) {
    // Only what is logged from here on can show it.
    if enabled!(Level::DEBUG) {
        let duration_ms = began.elapsed().as_secs_f64() * 1000.0;
        Span::current().record("duration_ms", duration_ms);
        debug!(status = response.status().as_u16(), "answered");
    }
}

async fn serve(
    shared: &Arc<Shared>,
    request: HttpRequest<HttpBody>,
    connected: &Connected,
    began: Instant,
) -> Result<Response, Refused> {
    let (parts, http_body) = request.into_parts();
    let mut came = Came::admit(shared, parts, connected, began)?;
    body::check_content_type(&came.parts.headers)?;
    let max = shared.settings.http.body_bytes_max;
    let bytes = body::read(&came.peer, &came.parts.headers, http_body, max).await?;
    came.body = bytes.replayable();
    match Body::parse(&bytes)? {
        Body::One(Message::Request(request)) => {
            let id = request.id.clone();
            serve_request(shared, came, request)
                .await
                .map_err(|refusal| Refused(refusal, Some(id)))
        }
        Body::One(Message::Notification(notification)) => {
            Box::pin(legacy::notification(shared, came, &notification)).await?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        Body::One(Message::Response(response)) => {
            Box::pin(legacy::response(shared, &came, response)).await?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        Body::Batch(items) => Ok(Box::pin(legacy::batch(shared, came, items)).await?),
    }
}

async fn serve_request(shared: &Arc<Shared>, came: Came, request: Request<'_>) -> Result<Response, Refusal> {
    body::check_accept(&came.parts.headers, shared.settings.call.reply)?;
    let header = version_header(&came.parts);
    let peek = Peek::read(request.params).map_err(|refusal| malformed(header, refusal))?;
    let meta = peek.meta.protocol_version();
    let signs = Signs {
        header,
        meta: meta.as_ref().map(rmcp::model::ProtocolVersion::as_str),
        session: came.parts.headers.contains_key(&SESSION_HEADER),
    };
    match classify(&request.method, signs)? {
        // In a box, like whatever is not a call: the room that it needs would be kept, and moved, with each.
        Context::Initialize => Box::pin(initialize::initialize(shared, came, request)).await,
        Context::Session => legacy::request(shared, came, request, peek).await,
        Context::Meta => modern::request(shared, came, request, peek).await,
    }
}

/// The `MCP-Protocol-Version` header.
pub(crate) fn version_header(parts: &Parts) -> Option<&str> {
    parts
        .headers
        .get(&VERSION_HEADER)
        .map(|value| value.to_str().unwrap_or_default().trim())
}

/// Parameters that cannot be read at all: for a modern request that means `_meta` cannot be.
fn malformed(header: Option<&str>, refusal: Refusal) -> Refusal {
    let modern = header
        .and_then(Revision::parse)
        .is_some_and(|revision| revision.era() == Era::Modern);
    match refusal {
        Refusal::InvalidParams(reason) if modern => Refusal::MetaIncomplete(reason),
        other => other,
    }
}

/// Takes one of what this node has so many of.
pub(super) fn place(peer: &Arc<PeerUse>, resource: Resource) -> Result<Share, Refusal> {
    peer.take(resource, 1).map_err(Refusal::TooMany)
}

/// What a request takes a place of. A node that has no more for calls still says that it lives, and makes sessions.
pub(super) fn resource(method: &str) -> Resource {
    match method {
        "ping" | "initialize" | "server/discover" => Resource::Light,
        "subscriptions/listen" => Resource::Listeners,
        _ => Resource::Calls,
    }
}

pub(crate) fn reply_times(shared: &Shared) -> ReplyTimes {
    ReplyTimes {
        form: shared.settings.call.reply,
        grace: shared.settings.call.reply_grace,
        keep_alive: shared.settings.call.keep_alive,
    }
}

/// Puts what is known of a request into its span.
pub(crate) fn note(era: Era, method: &'static str, session: Option<&str>) {
    let span = Span::current();
    record_all!(span, era = era.as_str(), method = method, session = session);
}
