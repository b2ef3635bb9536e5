//! `/mcp`: one pipeline for both eras. Admit, read, parse, classify; the engine does the rest, and its
//! outcome is printed.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Request as HttpRequest, StatusCode};
use rmcp::model::{ClientRequest, RequestId};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::admit::{AdmittedRequest, SESSION_HEADER, check_version};
use super::audited::{self, AuditedRequest};
use super::log::{self, finish, logged, note, span};
use super::request_line::RequestLine;
use super::response::RawStream;
use super::source::Connected;
use super::watch;
use super::{Service, media, response};
use crate::cluster::CachedSession;
use crate::config::ReplyForm;
use crate::engine::handshake::{Initialized, internal};
use crate::engine::incoming::Incoming;
use crate::engine::modern::{ModernContext, ModernRequest};
use crate::engine::reply::Reply;
use crate::engine::request::RequestMeta;
use crate::protocol::classify::{Context, EraHints, check_modern, classify};
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::Refusal;
use crate::protocol::headers::{check_params, name_member};
use crate::protocol::message::{Body, Message, Notification, Request, Unreadable};
use crate::session::{SessionId, TransportKind};
use crate::telemetry::metrics::method_label;

const ALLOWED: &str = "GET, POST, DELETE";

/// A refusal of the request of that id, if it is known.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Refusal, pub(super) Option<RequestId>);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal, None)
    }
}

impl From<Unreadable> for Refused {
    fn from(unreadable: Unreadable) -> Self {
        Self(unreadable.refusal, unreadable.id)
    }
}

impl Refused {
    /// As a response.
    pub(super) fn response(self) -> Response {
        response::refusal(&self.0, self.1.as_ref())
    }
}

/// The answer to a `POST`. Not by way of [`logged`], to which the future of each call would be moved.
pub(super) async fn answer(
    service: &Service,
    request: HttpRequest<HttpBody>,
    connected: &Connected,
    began: Instant,
) -> Response {
    let (span, asker) = (span(service), AuditedRequest::of(request.extensions()));
    async move {
        let response = serve(service, request, connected, began)
            .await
            .unwrap_or_else(Refused::response);
        finish(service, RequestLine::POST_MCP, asker.as_deref(), began, &response);
        response
    }
    .instrument(span)
    .await
}

pub(super) async fn delete(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    let line = RequestLine::of(request.method(), request.uri());
    let (asker, began) = (AuditedRequest::of(request.extensions()), Instant::now());
    let ended = async {
        let admitted = AdmittedRequest::of(&service, request, began).await?;
        admitted.check_version(service.engine.revisions)?;
        let id = admitted.session_id()?;
        note(Era::Legacy, "DELETE", Some(&id.tag()));
        let asker = admitted.asks_for(&id);
        let from = asker.as_ref().map(|asker| asker.from());
        let principal = admitted.identity.principal();
        let ended = service.engine.end_session(&id, principal, from.as_deref());
        ended.await.inspect_err(|refusal| {
            audited::note_unknown(&service, admitted.peer(), &id, refusal);
        })
    };
    let answer = async {
        match ended.await {
            Ok(()) => response::empty(StatusCode::NO_CONTENT),
            Err(refusal) => response::refusal(&refusal, None),
        }
    };
    logged(&service, line, asker, began, answer).await
}

pub(super) async fn get(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    answer_get(service, request, open).await
}

/// The answer to a `GET` that opens a stream. It is carried through: a client that hangs up must not leave a
/// stream that seems to have a connection.
pub(super) async fn answer_get<F>(
    service: Service,
    request: HttpRequest<HttpBody>,
    open: impl FnOnce(Service, AdmittedRequest) -> F,
) -> Response
where
    F: Future<Output = Result<Response, Refusal>> + Send + 'static,
{
    let line = RequestLine::of(request.method(), request.uri());
    let (asker, began) = (AuditedRequest::of(request.extensions()), Instant::now());
    let opened = async {
        let mut admitted = AdmittedRequest::of(&service, request, began).await?;
        admitted.count(&service, 1).await?;
        let work = &service.engine.work;
        let opened = work.spawn_and_wait("open-stream", open(service.clone(), admitted));
        opened.await.unwrap_or(Err(Refusal::ShuttingDown))
    };
    let answer = async {
        let opened = opened.await;
        opened.unwrap_or_else(|refusal| response::refusal(&refusal, None))
    };
    logged(&service, line, asker, began, answer).await
}

/// Opens the session's standalone stream, or takes a reply's up.
async fn open(service: Service, admitted: AdmittedRequest) -> Result<Response, Refusal> {
    let engine = &service.engine;
    media::check_accept_stream(&admitted.parts.headers)?;
    admitted.check_version(engine.revisions)?;
    let id = admitted.session_id()?;
    let last_event_id = admitted.last_event_id().map(ToOwned::to_owned);
    let until = engine.stream_until(&admitted.identity);
    let permit = engine.stream_permit(admitted.uses())?;
    let cached = find(&service, &admitted, &id, TransportKind::Streamable).await?;
    note(Era::Legacy, "other", Some(&cached.tag));
    admitted.count_in_session(&service, &id, 1).await?;
    let taker = admitted.glimpse(&service);
    let opened = engine
        .open_stream(&cached, last_event_id.as_deref(), until, Some(&taker), permit)
        .await?;
    let Some(stream) = opened else {
        return Ok(response::empty(StatusCode::NO_CONTENT));
    };
    let raw = match stream.standing {
        true => RawStream::Standing,
        false => RawStream::Reply,
    };
    Ok(response::as_raw_stream(response::stream(stream.events), raw))
}

pub(super) async fn other_method(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    refuse_method(&service, request, ALLOWED).await
}

/// Refuses a method that a path does not have.
pub(super) async fn refuse_method(
    service: &Service,
    request: HttpRequest<HttpBody>,
    allowed: &'static str,
) -> Response {
    let line = RequestLine::of(request.method(), request.uri());
    let asker = AuditedRequest::of(request.extensions());
    let refusal = match check(service, request).await {
        Ok(()) => Refusal::MethodNotAllowed(allowed),
        Err(refusal) => refusal,
    };
    log::refuse_asker(service, line, asker.as_deref(), &refusal)
}

/// Checks who asks, of a request that goes no further.
pub(super) async fn check(service: &Service, request: HttpRequest<HttpBody>) -> Result<(), Refusal> {
    AdmittedRequest::of(service, request, Instant::now())
        .await
        .map(drop)
}

async fn serve(
    service: &Service,
    request: HttpRequest<HttpBody>,
    connected: &Connected,
    began: Instant,
) -> Result<Response, Refused> {
    let (mut admitted, held) = AdmittedRequest::with_body(service, request, connected, began).await?;
    let body = match Body::parse(&held) {
        Ok(body) => body,
        // It may name a session, so it was not counted before.
        Err(unreadable) => {
            admitted.count(service, 1).await?;
            return Err(unreadable.into());
        }
    };
    match body {
        Body::One(Message::Request(request)) => {
            let id = request.id.clone();
            serve_request(service, admitted, request, held.replayable())
                .await
                .map_err(|refusal| Refused(refusal, Some(id)))
        }
        Body::One(Message::Notification(notification)) => {
            Box::pin(notification_of(service, admitted, &notification)).await?;
            Ok(response::empty(StatusCode::ACCEPTED))
        }
        Body::One(Message::Response(answer)) => {
            let engine = &service.engine;
            let serve = async {
                let (incoming, cached) = session(service, admitted, "other", 0).await?;
                drop(incoming);
                engine.response(&cached, answer).await
            };
            Box::pin(serve).await?;
            Ok(response::empty(StatusCode::ACCEPTED))
        }
        Body::Batch(items) => Ok(Box::pin(batch(service, admitted, items)).await?),
    }
}

async fn serve_request(
    service: &Service,
    mut admitted: AdmittedRequest,
    request: Request<'_>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let engine = &service.engine;
    admitted.count(service, 1).await?;
    admitted.form = media::check_accept(&admitted.parts.headers, admitted.form)?;
    let (header, named) = (admitted.version(), admitted.named_session());
    let meta = RequestMeta::read(request.params).map_err(|refusal| malformed(header, refusal))?;
    log::note_tool(engine, &request.method, || {
        meta.named(name_member(&request.method))
    });
    let version = meta.meta.protocol_version();
    let hints = EraHints {
        header,
        meta: version.as_ref().map(rmcp::model::ProtocolVersion::as_str),
        session: named.is_some(),
    };
    match classify(&request.method, hints, engine.revisions)? {
        // In a box, like all that is not a call: the room that it needs would be kept, and moved, with each.
        Context::Initialize => Box::pin(initialize(service, admitted, request)).await,
        Context::Session => {
            check_version(header, engine.revisions)?;
            let id = named.unwrap_or(Err(Refusal::NoSession))?;
            admitted.check_scopes(service, &request, &meta)?;
            let label = method_label(&request.method);
            let (incoming, cached) = in_session(service, admitted, &id, label, body, 1).await?;
            response::reply(engine.request(incoming, cached, request, meta).await?)
        }
        Context::Meta => modern(service, admitted, request, meta, body).await,
    }
}

/// The session that a request names, for which so many messages count, and what the engine is told of the request.
async fn session(
    service: &Service,
    admitted: AdmittedRequest,
    method: &'static str,
    messages: u32,
) -> Result<(Incoming, Arc<CachedSession>), Refusal> {
    admitted.check_version(service.engine.revisions)?;
    let id = admitted.session_id()?;
    in_session(service, admitted, &id, method, Bytes::new(), messages).await
}

/// The same of a session whose id has been read.
async fn in_session(
    service: &Service,
    admitted: AdmittedRequest,
    id: &SessionId,
    method: &'static str,
    body: Bytes,
    messages: u32,
) -> Result<(Incoming, Arc<CachedSession>), Refusal> {
    let cached = find(service, &admitted, id, TransportKind::Streamable).await?;
    note(Era::Legacy, method, Some(&cached.tag));
    admitted.count_in_session(service, id, messages).await?;
    Ok((admitted.into_incoming(body), cached))
}

/// The session of that id, which is looked at for alarms.
pub(super) async fn find(
    service: &Service,
    admitted: &AdmittedRequest,
    id: &SessionId,
    transport: TransportKind,
) -> Result<Arc<CachedSession>, Refusal> {
    let principal = admitted.identity.principal();
    let found = service.engine.session(id, principal, transport).await;
    match &found {
        Ok(cached) => watch::look(service, admitted, cached),
        Err(refusal) => {
            admitted.asks_for(id);
            audited::note_unknown(service, admitted.peer(), id, refusal);
        }
    }
    found
}

/// `initialize`: the session that comes of it is named in a header.
async fn initialize(
    service: &Service,
    admitted: AdmittedRequest,
    request: Request<'_>,
) -> Result<Response, Refusal> {
    note(Era::Legacy, "initialize", None);
    let engine = &service.engine;
    let form = admitted.form;
    let incoming = admitted.into_incoming(Bytes::new());
    let Initialized { body, session } = engine.initialize(incoming, request).await?;
    let Some(id) = session else {
        return Ok(response::json(StatusCode::OK, body));
    };
    log::note_session(&id.tag());
    let mut response = match form {
        // There is no session yet that could keep it: it cannot be taken up, and need not be.
        ReplyForm::Sse => response::event(&body),
        ReplyForm::Auto | ReplyForm::Json => response::json(StatusCode::OK, body),
    };
    let value = HeaderValue::from_str(id.as_str()).map_err(|error| internal(&error))?;
    response.headers_mut().insert(SESSION_HEADER.clone(), value);
    Ok(response)
}

/// A request that brings its own context. Its headers must say what its body says (SEP-2243), before anything
/// else.
async fn modern(
    service: &Service,
    admitted: AdmittedRequest,
    request: Request<'_>,
    meta: RequestMeta,
    body: Bytes,
) -> Result<Response, Refusal> {
    note(Era::Modern, method_label(&request.method), None);
    let engine = &service.engine;
    let (headers, method) = (&admitted.parts.headers, &request.method);
    let name = meta.named(name_member(method));
    let (revision, capabilities) = check_modern(
        headers,
        admitted.version(),
        method,
        name,
        &meta.meta,
        engine.revisions,
    )?;
    let read = ModernRequest::read(&request)?;
    if let ClientRequest::CallToolRequest(call) = read.typed()
        && let Some(tool) = engine.tool(&call.params.name)
    {
        check_params(headers, &tool.input_schema, call.params.arguments.as_ref())?;
    }
    admitted.check_scopes(service, &request, &meta)?;
    let listens = read.listens();
    if listens {
        // It is a stream, also when other replies are single bodies.
        media::check_accept_stream(headers)
            .map_err(|_stream_only| Refusal::NotAcceptable(media::SEND_BOTH))?;
    }
    let context = ModernContext {
        revision,
        capabilities,
    };
    let incoming = admitted.into_incoming(body);
    let reply = engine
        .modern_request(incoming, context, request.id, read, meta)
        .await?;
    let lasts = listens && matches!(reply, Reply::Stream(_));
    let response = response::reply(reply)?;
    Ok(if lasts {
        response::as_raw_stream(response, RawStream::Standing)
    } else {
        response
    })
}

/// A notification. Outside a session only modern clients send any, and none that this server needs.
async fn notification_of(
    service: &Service,
    mut admitted: AdmittedRequest,
    notification: &Notification<'_>,
) -> Result<(), Refusal> {
    let messages = admitted.count_notification(service, notification).await?;
    let modern = admitted.version().and_then(Revision::parse).map(Revision::era) == Some(Era::Modern);
    if modern && !admitted.names_session() {
        return Ok(());
    }
    let label = method_label(&notification.method);
    let (incoming, cached) = session(service, admitted, label, messages).await?;
    service.engine.notification(incoming, &cached, notification).await
}

/// A batch of 2025-03-26.
async fn batch(
    service: &Service,
    mut admitted: AdmittedRequest,
    items: Vec<Result<Message<'_>, Unreadable>>,
) -> Result<Response, Refusal> {
    let engine = &service.engine;
    admitted.form = media::check_accept(&admitted.parts.headers, admitted.form)?;
    // Before any of them is run (RFC 6750, section 3.1: the request as a whole is refused).
    for message in items.iter().flatten() {
        admitted.check_message(service, message)?;
    }
    let messages = admitted.count_batch(service, &items).await?;
    let (incoming, cached) = session(service, admitted, "other", messages).await?;
    response::reply(engine.batch(incoming, &cached, items).await?)
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
