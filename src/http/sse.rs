//! `GET /sse` and `POST /messages`: the transport of 2024-11-05 (HTTP with SSE). A session has one stream, on which
//! everything comes that the server sends. Any node carries it, and any node takes what the client posts.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{Request as HttpRequest, StatusCode, Uri};
use rmcp::ErrorData;
use rmcp::model::{RequestId, ServerJsonRpcMessage, ServerResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug};

use super::answer::Lasting;
use super::attach::{attach, check_resumable};
use super::mcp::{Came, Refused, finish, note, place, resource, span, version_header};
use super::noted::Noted;
use super::source::Connected;
use super::stream::{LAST_EVENT_ID, check_accept};
use super::{Shared, answer, body, initialize, legacy};
use crate::causes::causes;
use crate::cluster::{Live, SessionError};
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::{Refusal, error_body};
use crate::protocol::event_id::EventId;
use crate::protocol::message::{Body, Message, Request};
use crate::session::{Introduction, Peer, Principal, SessionId, SessionRecord, TransportKind};
use crate::store::nodes::living;
use crate::store::streams::{Appended, Begun, StreamId, holder_of};
use crate::store::{Change, Created, NodeMessage, Recipients};
use crate::telemetry::metrics::{self, StreamKind, method_label};
use crate::transport::carrier::{Carrier, RETRY_MS, SOCKET_EVENTS_MAX, Terms};
use crate::transport::request::Peek;
use crate::transport::shares::Resource;
use crate::transport::topics::Tell;

/// The shortest key by which a client may name its session, in characters. 32 of hexadecimal hold 128 bits.
const CLIENT_KEY_CHARS_MIN: usize = 32;
/// How long a message waits for a stream that was lost just now: a client opens it again after [`RETRY_MS`].
const STREAM_BACK_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks whether the stream is back.
const STREAM_LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn get(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    let span = span(&shared);
    let began = Instant::now();
    async move {
        let opened = async {
            let connected = Connected::of(&request)?;
            let came = Came::admit(&shared, request.into_parts().0, &connected, began)?;
            let (shared, work) = (Arc::clone(&shared), shared.work.clone());
            // A client that hangs up must not leave a stream that seems to be carried.
            let opened = async move { open(&shared, came).await };
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

pub(crate) async fn post(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    let span = span(&shared);
    let began = Instant::now();
    async move {
        let response = match take(&shared, request, began).await {
            Ok(()) => answer::empty(StatusCode::ACCEPTED),
            Err(Refused(refusal, id)) => answer::refusal(&refusal, id.as_ref()),
        };
        finish(began, &response);
        response
    }
    .instrument(span)
    .await
}

pub(crate) async fn not_get(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    other_method(&shared, &request, "GET")
}

pub(crate) async fn not_post(State(shared): State<Arc<Shared>>, request: HttpRequest<HttpBody>) -> Response {
    other_method(&shared, &request, "POST")
}

fn other_method(shared: &Shared, request: &HttpRequest<HttpBody>, allowed: &'static str) -> Response {
    let refusal = match shared.guard.admit(request.headers(), request.uri()) {
        Ok(_) => Refusal::MethodNotAllowed(allowed),
        Err(refusal) => refusal,
    };
    answer::refusal(&refusal, None)
}

/// Opens a session with its stream, or takes up that of a session that is named.
async fn open(shared: &Arc<Shared>, came: Came) -> Result<Response, Refusal> {
    let Came {
        parts,
        principal,
        peer,
        ..
    } = came;
    let (headers, uri) = (&parts.headers, &parts.uri);
    check_accept(headers)?;
    let place = place(&peer, Resource::Streams)?;
    let (live, opened) = match session_id(uri) {
        None => {
            let id = shared
                .sessions
                .open(&newcomer(shared, &principal), peer.peer())
                .await?;
            (find(shared, &id, &principal).await?, Opened::Made)
        }
        Some(text) => take_up(shared, text, &principal, peer.peer()).await?,
    };
    note(Era::Legacy, "other", Some(&live.tag));
    let stream = StreamId::sse();
    let resumed = match headers.get(&LAST_EVENT_ID).filter(|_| opened == Opened::Found) {
        Some(id) => Some(number(id.to_str().unwrap_or_default())?),
        None => None,
    };
    // A request that is refused takes the stream from nobody.
    if let Some(after) = resumed {
        check_resumable(shared, &live, &stream, after).await?;
    }
    let (carried, delivered) = attach(shared, &live, &stream).await?;
    // What changed while nobody carried the stream was told to nobody; a new session wants to know from here on.
    let tell = match opened {
        Opened::Found => Tell::Changes,
        Opened::Made => Tell::Nothing,
    };
    if let Err(error) = shared.board.sync(&live, tell).await {
        debug!(session = live.tag, error = %causes(&error), "a session is told of changes when it comes back");
    }
    let terms = Terms {
        kind: StreamKind::Sse,
        after: resumed.unwrap_or(delivered),
        has_id: resumed.is_some(),
        prime: false,
        note_delivered: true,
        keep_alive: shared.settings.call.keep_alive,
        draining: shared.leaving.clone(),
        deadline: shared.deadline.clone(),
    };
    let (client, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
    if client.try_send(endpoint(&live.id)).is_err() {
        return Err(Refusal::Internal);
    }
    let carrier = Carrier::new(Arc::clone(&shared.board), stream, carried, terms, client);
    shared.work.spawn("carry", async move {
        let _parted = carrier.run().await;
        drop(place);
    });
    Ok(answer::lasting(answer::stream(socket), Lasting::Standing))
}

/// The first event: where to post (2024-11-05, Transports, "HTTP with SSE"), and how soon to come back.
fn endpoint(id: &SessionId) -> Bytes {
    let id = id.as_str();
    format!("event: endpoint\ndata: /messages?sessionId={id}\nretry: {RETRY_MS}\n\n").into()
}

/// Whether the session of a new connection was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    Made,
    Found,
}

/// The session of that name; with `sse.client_keys` it is made if need be.
async fn take_up(
    shared: &Shared,
    text: &str,
    principal: &Principal,
    peer: &Peer,
) -> Result<(Arc<Live>, Opened), Refusal> {
    let id = SessionId::parse(text).ok_or(Refusal::SessionNotFound)?;
    let key = shared.settings.sse.client_keys && text.len() >= CLIENT_KEY_CHARS_MIN;
    match find(shared, &id, principal).await {
        Err(Refusal::SessionNotFound) if key => {
            let opened = match shared
                .sessions
                .open_as(&id, &newcomer(shared, principal), peer)
                .await?
            {
                Created::Created => Opened::Made,
                // It was made just now by another connection, or is not this principal's.
                Created::Collision => Opened::Found,
                Created::Full(full) => return Err(SessionError::TooMany(full).into()),
            };
            Ok((find(shared, &id, principal).await?, opened))
        }
        found => Ok((found?, Opened::Found)),
    }
}

async fn find(shared: &Shared, id: &SessionId, principal: &Principal) -> Result<Arc<Live>, Refusal> {
    let live = shared.sessions.find(id, principal).await?;
    legacy::of_transport(live, TransportKind::Sse)
}

/// The session of a client that has not introduced itself. With `sse.continue` it need not.
fn newcomer(shared: &Shared, principal: &Principal) -> SessionRecord {
    let record = initialize::new_record(
        shared,
        Introduction::missing(),
        TransportKind::Sse,
        principal.clone(),
    );
    SessionRecord {
        initialized: shared.settings.sse.skip_initialize,
        ..record
    }
}

/// Takes a message. Once it has arrived it is seen through, whether or not the client still waits.
async fn take(shared: &Arc<Shared>, request: HttpRequest<HttpBody>, began: Instant) -> Result<(), Refused> {
    let connected = Connected::of(&request)?;
    let (parts, http_body) = request.into_parts();
    let mut came = Came::admit(shared, parts, &connected, began)?;
    body::check_content_type(&came.parts.headers)?;
    let max = shared.settings.http.body_bytes_max;
    let bytes = body::read(&came.peer, &came.parts.headers, http_body, max).await?;
    came.body = bytes.replayable();
    let (shared, work) = (Arc::clone(shared), shared.work.clone());
    let taken = work.see_through("message", async move { handle(&shared, came, &bytes).await });
    taken.await.unwrap_or_else(|| Err(Refusal::ShuttingDown.into()))
}

async fn handle(shared: &Arc<Shared>, came: Came, body: &[u8]) -> Result<(), Refused> {
    let Body::One(message) = Body::parse(body)? else {
        return Err(Refusal::BatchNotAllowed.into());
    };
    let id = match &message {
        Message::Request(request) => Some(request.id.clone()),
        _ => None,
    };
    serve(shared, came, message)
        .await
        .map_err(|refusal| Refused(refusal, id))
}

async fn serve(shared: &Arc<Shared>, came: Came, message: Message<'_>) -> Result<(), Refusal> {
    if version_header(&came.parts).is_some_and(|version| Revision::parse(version).is_none()) {
        return Err(Refusal::UnknownVersionHeader);
    }
    let id = session_id(&came.parts.uri)
        .and_then(SessionId::parse)
        .ok_or(Refusal::SessionNotFound)?;
    let live = find(shared, &id, &came.principal).await?;
    let label = match &message {
        Message::Request(request) => method_label(&request.method),
        Message::Notification(notification) => method_label(&notification.method),
        Message::Response(_) => "other",
    };
    note(Era::Legacy, label, Some(&live.tag));
    check_stream(shared, &live).await?;
    match message {
        Message::Request(request) => {
            let id = request.id.clone();
            match answer_on_stream(shared, came, &live, request).await {
                // What has no HTTP status of its own is an answer like any other.
                Err(refusal) if refusal.status().is_success() => {
                    metrics::refused(refusal.label());
                    say_error(shared, &live, &id, &refusal.to_error()).await
                }
                taken => taken,
            }
        }
        Message::Notification(notification) => {
            legacy::notice(shared, &live, &came.peer, &notification, came.began).await
        }
        Message::Response(response) => legacy::give_answer(shared, &live, response).await,
    }
}

/// A session whose stream nobody carries can be given no answer.
async fn check_stream(shared: &Shared, live: &Live) -> Result<(), Refusal> {
    let until = Instant::now() + STREAM_BACK_WITHIN;
    let mut asked = false;
    while let Some(reason) = why_lost(shared, live).await? {
        if !std::mem::replace(&mut asked, true) {
            // A connection that carries the stream may have been forgotten, or one may wait to carry it: they are told to look.
            let message = NodeMessage::stream(&live.id, &StreamId::sse());
            shared.store.send(Recipients::All, &message).await?;
        }
        if Instant::now() >= until {
            // A store that came back empty knows neither the stream nor its session.
            shared.sessions.confirm(&live.id).await?;
            let reconnect = format!("/sse?sessionId={}", live.id.as_str());
            return Err(Refusal::StreamLost { reconnect, reason });
        }
        sleep(STREAM_LOOK_EVERY).await;
    }
    Ok(())
}

async fn why_lost(shared: &Shared, live: &Live) -> Result<Option<&'static str>, Refusal> {
    const UNCONNECTED: &str = "no connection carries it";
    let stream = StreamId::sse();
    if shared.board.hub.carries(&live.id, &stream) {
        return Ok(None);
    }
    let Some(holder) = holder_of(&*shared.store, &live.id, &stream).await? else {
        return Ok(Some(UNCONNECTED));
    };
    if holder.node == shared.node {
        // It was carried by a former life of this node.
        return Ok(Some(UNCONNECTED));
    }
    let living = living(&*shared.store, std::slice::from_ref(&holder.node)).await?;
    // After an outage of the store all leases have ended, and the living need a moment to renew theirs.
    let gone = living.is_empty() && shared.membership.can_judge();
    Ok(gone.then_some("the node that carried it is gone"))
}

/// Has a request answered: everything it sends, and the response, goes into the stream's log.
async fn answer_on_stream(
    shared: &Arc<Shared>,
    came: Came,
    live: &Arc<Live>,
    request: Request<'_>,
) -> Result<(), Refusal> {
    match request.method.as_ref() {
        "initialize" => return introduce(shared, &came, live, request).await,
        "ping" => {}
        _ if live.record.initialized || live.is_introduced() => {}
        _ => {
            let words = "the session is not initialized: send `initialize` first";
            let error = ErrorData::invalid_request(words, None);
            return say_error(shared, live, &request.id, &error).await;
        }
    }
    let peek = Peek::read(request.params)?;
    let cancel = CancellationToken::new();
    let noted = Noted::of(came.began, came.body, &request, peek.name.clone());
    let run = legacy::Run::first(&noted, came.peer, cancel.clone());
    let mut log = noted.log(shared, live, Some(StreamId::sse()));
    let running = legacy::begin(shared, came.parts, live, request, peek, run).await?;
    // The client will hear nothing but 202: whatever becomes of this node, the call must be found.
    let announced = match log.announce().await {
        Ok(announced) => announced,
        Err(error) => {
            shared.work.spawn("take-off", log.take_off());
            return Err(error.into());
        }
    };
    match announced {
        Begun::Begun => shared
            .work
            .spawn("call", log.follow(running, cancel).in_current_span()),
        Begun::Cancelled => debug!(session = live.tag, "a request was cancelled before it began"),
        Begun::Gone => return Err(shared.board.gone(live).await),
    }
    Ok(())
}

/// `initialize`: the session is there already, and learns who its client is. A client that was started again, and names
/// its session by a key of its own, may introduce itself once more.
async fn introduce(
    shared: &Arc<Shared>,
    came: &Came,
    live: &Arc<Live>,
    request: Request<'_>,
) -> Result<(), Refusal> {
    let _place = place(&came.peer, resource(&request.method))?;
    let params = initialize::parse(request.params)?;
    let mut introduction = initialize::introduction(&params);
    let mut record = SessionRecord {
        revision: introduction.revision,
        client_info: introduction.client_info.clone(),
        capabilities: introduction.capabilities.clone(),
        ..live.record.clone()
    };
    let result =
        match initialize::negotiate(shared, params, (came.peer.peer(), came.began), &mut record).await {
            Ok(result) => result,
            Err(error) => return say_error(shared, live, &request.id, &error).await,
        };
    introduction.revision = record.revision;
    let change = Change::Introduced(Box::new(introduction));
    shared.sessions.change(live, &change).await?;
    let message = ServerJsonRpcMessage::response(ServerResult::InitializeResult(result), request.id);
    let text = serde_json::to_string(&message).map_err(|error| initialize::internal(&error))?;
    say(shared, live, &text).await
}

async fn say_error(shared: &Shared, live: &Live, id: &RequestId, error: &ErrorData) -> Result<(), Refusal> {
    let body = error_body(Some(id), error);
    say(shared, live, &String::from_utf8_lossy(&body)).await
}

async fn say(shared: &Shared, live: &Live, message: &str) -> Result<(), Refusal> {
    match shared.board.say(live, message).await? {
        Appended::At { .. } => Ok(()),
        Appended::Gone => Err(Refusal::SessionNotFound),
    }
}

fn session_id(uri: &Uri) -> Option<&str> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("sessionId="))
}

/// The number in a `Last-Event-ID` of the one stream there is.
fn number(text: &str) -> Result<u64, Refusal> {
    EventId::parse(text)
        .filter(|id| id.stream == StreamId::SSE)
        .map(|id| id.number)
        .ok_or(Refusal::BadEventId("it is not an id that this server gave"))
}
