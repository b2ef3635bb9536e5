//! `GET /sse` and `POST /messages`: the transport of 2024-11-05 (HTTP with SSE).

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{Request as HttpRequest, StatusCode};
use tokio::time::Instant;

use super::admit::AdmittedRequest;
use super::audited::{self, AuditedRequest};
use super::log::{logged, note};
use super::mcp::{self, Refused, answer_get, refuse_method};
use super::request_line::RequestLine;
use super::response::RawStream;
use super::source::Connected;
use super::{MESSAGES_BELOW, Service, index, media, response};
use crate::engine::watch::Glimpse;
use crate::protocol::era::Era;
use crate::protocol::error::Refusal;
use crate::protocol::message::{Body, Message};
use crate::session::{SessionId, TransportKind};
use crate::telemetry::metrics::method_label;

pub(super) async fn get(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    answer_get(service, request, open).await
}

pub(super) async fn post(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    let line = RequestLine::of(request.method(), request.uri());
    let (asker, began) = (AuditedRequest::of(request.extensions()), Instant::now());
    let below = request.uri().path().starts_with(MESSAGES_BELOW);
    let answer = async {
        match take(&service, request, began).await {
            Ok(()) => response::empty(StatusCode::ACCEPTED),
            Err(refused) if below => from_below(refused).response(),
            Err(refused) => refused.response(),
        }
    };
    logged(&service, line, asker, began, answer).await
}

/// A refusal whose relative URL was meant for a client that asks one level above.
fn from_below(refused: Refused) -> Refused {
    match refused {
        Refused(Refusal::StreamLost { reconnect, reason }, id) if !reconnect.starts_with('/') => {
            let reconnect = format!("../{reconnect}");
            Refused(Refusal::StreamLost { reconnect, reason }, id)
        }
        refused => refused,
    }
}

pub(super) async fn not_get(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    refuse_method(&service, request, "GET").await
}

pub(super) async fn not_post(State(service): State<Service>, request: HttpRequest<HttpBody>) -> Response {
    refuse_method(&service, request, "POST").await
}

/// Refuses where the revision is not served whose transport this is.
fn check_served(service: &Service) -> Result<(), Refusal> {
    match index::serves_sse(service) {
        true => Ok(()),
        false => Err(index::no_such_path(service)),
    }
}

/// Opens a session with its stream, or takes up that of a session that is named.
async fn open(service: Service, admitted: AdmittedRequest) -> Result<Response, Refusal> {
    let engine = &service.engine;
    check_served(&service)?;
    media::check_accept_stream(&admitted.parts.headers)?;
    let named = admitted.session_in_query().map(ToOwned::to_owned);
    let last_event_id = admitted.last_event_id().map(ToOwned::to_owned);
    let permit = engine.stream_permit(admitted.uses())?;
    let (address, agent) = admitted.owned_glimpse(&service);
    let taker = Glimpse {
        address,
        agent: &agent,
    };
    let asker = AuditedRequest::of(&admitted.parts.extensions);
    let incoming = admitted.into_incoming(Bytes::new());
    let opened = engine.open_sse(
        &incoming,
        named.as_deref(),
        last_event_id.as_deref(),
        Some(&taker),
        permit,
    );
    let stream = opened.await.inspect_err(|refusal| {
        if let Some(id) = named.as_deref().and_then(SessionId::parse) {
            if let Some(asker) = asker {
                asker.asks_for(&id);
            }
            audited::note_unknown(&service, incoming.requester.peer.peer(), &id, refusal);
        }
    })?;
    note(Era::Legacy, "other", Some(&stream.cached.tag));
    Ok(response::as_raw_stream(
        response::stream(stream.events),
        RawStream::StandingUnchunked,
    ))
}

/// Takes a message. Once it has arrived it is carried through, whether or not the client still waits.
async fn take(service: &Service, request: HttpRequest<HttpBody>, began: Instant) -> Result<(), Refused> {
    let connected = Connected::of(&request)?;
    let (admitted, held) = AdmittedRequest::with_body(service, request, &connected, began).await?;
    let (service, work) = (service.clone(), service.engine.work.clone());
    let taken = work.spawn_and_wait("message", async move {
        let kept = held.replayable();
        handle(&service, admitted, &held, kept).await
    });
    taken.await.unwrap_or_else(|| Err(Refusal::ShuttingDown.into()))
}

async fn handle(
    service: &Service,
    mut admitted: AdmittedRequest,
    body: &[u8],
    kept: Bytes,
) -> Result<(), Refused> {
    let message = match Body::parse(body) {
        Ok(Body::One(message)) => message,
        unreadable => {
            admitted.count(service, 1).await?;
            return Err(unreadable.map_or_else(Into::into, |_batch| Refusal::BatchNotAllowed.into()));
        }
    };
    let id = match &message {
        Message::Request(request) => Some(request.id.clone()),
        _ => None,
    };
    serve(service, admitted, message, kept)
        .await
        .map_err(|refusal| Refused(refusal, id))
}

async fn serve(
    service: &Service,
    mut admitted: AdmittedRequest,
    message: Message<'_>,
    kept: Bytes,
) -> Result<(), Refusal> {
    admitted.check_version(service.engine.revisions)?;
    check_served(service)?;
    let id = admitted.session_in_query().and_then(SessionId::parse);
    let id = id.ok_or(Refusal::SessionNotFound)?;
    admitted.check_message(service, &message)?;
    let engine = &service.engine;
    let messages = match &message {
        Message::Request(_) => admitted.count(service, 1).await.map(|()| 1)?,
        Message::Notification(notification) => admitted.count_notification(service, notification).await?,
        Message::Response(_) => 0,
    };
    let cached = mcp::find(service, &admitted, &id, TransportKind::Sse).await?;
    let label = match &message {
        Message::Request(request) => method_label(&request.method),
        Message::Notification(notification) => method_label(&notification.method),
        Message::Response(_) => "other",
    };
    note(Era::Legacy, label, Some(&cached.tag));
    admitted.count_in_session(service, &id, messages).await?;
    engine
        .sse_message(admitted.into_incoming(kept), &cached, message)
        .await
}
