//! Requests whose context is a session: revisions to 2025-11-25 on `/mcp`.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use rmcp::model::{ClientRequest, RequestId, ServerJsonRpcMessage, ServerResult};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::aside::{ToClient, WithinReply, beside_reply, outside, within_reply};
use super::mcp::{Came, SESSION_HEADER, note, place, reply_times, resource, version_header};
use super::noted::Noted;
use super::{Shared, answer, body};
use crate::cluster::{Live, SessionError};
use crate::config::ReplyForm;
use crate::protocol::classify::is_modern_only;
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::{Refusal, error_body};
use crate::protocol::message::{Message, Notification, Request, Response as ClientResponse, parse_id};
use crate::session::record::SUBSCRIPTION_URI_BYTES_MAX;
use crate::session::state::StateScope;
use crate::session::{Caller, Connection, LogLevel, Peer, Session, SessionId, State, TransportKind};
use crate::store::streams::StreamId;
use crate::store::{Change, StoreError};
use crate::telemetry::metrics::{self, method_label};
use crate::transport::call::{self, Call, Places, RunningCall, Then};
use crate::transport::calls::InFlight;
use crate::transport::logged::Log;
use crate::transport::notify;
use crate::transport::peer::LogGate;
use crate::transport::reply::{Finished, Flight, join, outbound};
use crate::transport::request::{Peek, typed_notification, typed_request};
use crate::transport::shares::{PeerUse, Resource};
use crate::transport::topics::Tell;

/// Any other request.
pub(super) async fn request(
    shared: &Arc<Shared>,
    came: Came,
    request: Request<'_>,
    mut peek: Peek,
) -> Result<Response, Refusal> {
    let live = session(shared, &came).await?;
    note(Era::Legacy, method_label(&request.method), Some(&live.tag));
    let cancel = CancellationToken::new();
    let noted = Noted::of(came.began, came.body, &request, peek.name.take());
    let mut run = Run::first(&noted, came.peer, cancel.clone());
    let log = match shared.settings.call.reply {
        ReplyForm::Json => {
            run.out = Some(beside_reply(shared, &live, &noted));
            None
        }
        ReplyForm::Auto | ReplyForm::Sse => {
            let let_go = Arc::new(Notify::new());
            run.connection = Connection::new(Arc::clone(&let_go));
            let (shared, live) = (Arc::clone(shared), Arc::clone(&live));
            Some(move || Log {
                let_go,
                ..noted.log(&shared, &live, None)
            })
        }
    };
    let running = begin(shared, came.parts, &live, request, peek, run).await?;
    let flight = Flight::new(running, cancel, true, shared.work.clone());
    let flight = match log {
        Some(log) => flight.logged(log),
        None => flight,
    };
    answer::reply(flight.reply(reply_times(shared)).await)
}

/// A batch of 2025-03-26: each message stands alone, the responses come together.
pub(super) async fn batch(
    shared: &Arc<Shared>,
    came: Came,
    items: Vec<Result<Message<'_>, Refusal>>,
) -> Result<Response, Refusal> {
    let form = shared.settings.call.reply;
    body::check_accept(&came.parts.headers, form)?;
    let live = session(shared, &came).await?;
    note(Era::Legacy, "other", Some(&live.tag));
    if !live.revision().allows_batches() {
        return Err(Refusal::BatchNotAllowed);
    }
    let (out, messages) = outbound();
    let cancel = CancellationToken::new();
    let mut running = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                let began = match Peek::read(request.params) {
                    Ok(peek) => {
                        let noted = Noted::of(came.began, Bytes::new(), &request, None);
                        let (out, within) = match form {
                            ReplyForm::Json => (beside_reply(shared, &live, &noted), None),
                            ReplyForm::Auto | ReplyForm::Sse => {
                                let (out, within) = within_reply(shared, &live, &noted, out.clone());
                                (out, Some(within))
                            }
                        };
                        let run = Run::first(&noted, came.peer.clone(), cancel.child_token()).to(out);
                        let began = begin(shared, came.parts.clone(), &live, request, peek, run).await;
                        began.map(|began| all_told(began, within))
                    }
                    Err(refusal) => Err(refusal),
                };
                let began = began.unwrap_or_else(|refusal| refused(&refusal, Some(&id)));
                running.push(began.call);
            }
            Ok(Message::Notification(notification)) => {
                // It stands alone like the others, but nothing answers it.
                if let Err(refusal) = notice(shared, &live, &came.peer, &notification, came.began).await {
                    metrics::refused(refusal.label());
                    tracing::debug!(reason = refusal.label(), "a batch's notification was refused");
                }
            }
            Ok(Message::Response(response)) => give_answer(shared, &live, response).await?,
            Err(refusal) => running.push(refused(&refusal, None).call),
        }
    }
    drop(out);
    if running.is_empty() {
        // Notifications and responses only (2025-03-26, Transports, "Sending Messages to the Server").
        return Ok(answer::empty(StatusCode::ACCEPTED));
    }
    let running = RunningCall {
        call: Box::pin(join(running)),
        messages: Some(messages),
    };
    let flight = Flight::new(running, cancel, true, shared.work.clone());
    answer::reply(flight.reply(reply_times(shared)).await)
}

/// The same call, which ends when all is told that it has sent.
fn all_told(began: RunningCall, within: Option<WithinReply>) -> RunningCall {
    let Some(within) = within else { return began };
    let call = async move {
        let finished = began.call.await;
        within.end().await;
        finished
    };
    RunningCall {
        call: Box::pin(call),
        messages: began.messages,
    }
}

/// A notification. Outside a session only modern clients send any, and none that this server needs.
pub(super) async fn notification(
    shared: &Arc<Shared>,
    came: Came,
    notification: &Notification<'_>,
) -> Result<(), Refusal> {
    let modern = version_header(&came.parts)
        .and_then(Revision::parse)
        .map(Revision::era)
        == Some(Era::Modern);
    if modern && !came.parts.headers.contains_key(&SESSION_HEADER) {
        return Ok(());
    }
    let live = session(shared, &came).await?;
    note(Era::Legacy, method_label(&notification.method), Some(&live.tag));
    notice(shared, &live, &came.peer, notification, came.began).await
}

/// A client's answer to a request of the server.
pub(super) async fn response(
    shared: &Arc<Shared>,
    came: &Came,
    response: ClientResponse<'_>,
) -> Result<(), Refusal> {
    let live = session(shared, came).await?;
    note(Era::Legacy, "other", Some(&live.tag));
    give_answer(shared, &live, response).await
}

/// `DELETE`: ends the session everywhere, for good.
pub(super) async fn end(shared: &Arc<Shared>, came: &Came) -> Result<(), Refusal> {
    check_version(came)?;
    let id = named_session(came)?;
    note(Era::Legacy, "DELETE", Some(&id.tag()));
    match shared.sessions.find(&id, &came.principal).await {
        Ok(live) => {
            let live = of_transport(live, TransportKind::Streamable)?;
            Ok(shared.sessions.end(&live.id).await?)
        }
        // It may be there, and this node cannot read it: to end it, nobody need.
        Err(unread @ (SessionError::NotFound | SessionError::Store(StoreError::Newer(_)))) => {
            match shared.sessions.end_unread(&id, &came.principal).await {
                Err(SessionError::NotFound) => Err(unread.into()),
                ended => Ok(ended?),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses a request that names a revision that nobody knows.
fn check_version(came: &Came) -> Result<(), Refusal> {
    match version_header(&came.parts).is_some_and(|version| Revision::parse(version).is_none()) {
        true => Err(Refusal::UnknownVersionHeader),
        false => Ok(()),
    }
}

/// The id of the session that a request names.
fn named_session(came: &Came) -> Result<SessionId, Refusal> {
    let value = came
        .parts
        .headers
        .get(&SESSION_HEADER)
        .ok_or(Refusal::NoSession)?;
    value
        .to_str()
        .ok()
        .and_then(SessionId::parse)
        .ok_or(Refusal::SessionNotFound)
}

/// The session that a request names.
pub(super) async fn session(shared: &Shared, came: &Came) -> Result<Arc<Live>, Refusal> {
    check_version(came)?;
    let id = named_session(came)?;
    let live = shared.sessions.find(&id, &came.principal).await?;
    of_transport(live, TransportKind::Streamable)
}

/// The session, if it was opened over that transport: its streams and endpoints are that one's.
pub(super) fn of_transport(live: Arc<Live>, transport: TransportKind) -> Result<Arc<Live>, Refusal> {
    match live.record.transport == transport {
        true => Ok(live),
        false => Err(Refusal::SessionNotFound),
    }
}

/// Which run of a call it is, what stops it, and where what it sends goes.
#[derive(Debug)]
pub(super) struct Run {
    name: StreamId,
    began: Instant,
    first_request: u64,
    peer: Arc<PeerUse>,
    cancel: CancellationToken,
    connection: Connection,
    /// If not to its own reply.
    out: Option<Sender<Bytes>>,
}

impl Run {
    /// The first run of that call, which counts for that peer.
    pub(super) fn first(noted: &Noted, peer: Arc<PeerUse>, cancel: CancellationToken) -> Self {
        Self::of(noted.name.clone(), noted.began, peer, cancel)
    }

    fn of(name: StreamId, began: Instant, peer: Arc<PeerUse>, cancel: CancellationToken) -> Self {
        Self {
            name,
            began,
            first_request: 0,
            peer,
            cancel,
            connection: Connection::default(),
            out: None,
        }
    }

    /// The same, but what it sends goes there.
    fn to(self, out: Sender<Bytes>) -> Self {
        Self {
            out: Some(out),
            ..self
        }
    }

    /// Another, after the node of the first was lost. Its requests to the client are numbered anew: answers to those of
    /// the first may be there already.
    pub(super) fn again(name: StreamId, peer: Arc<PeerUse>, cancel: CancellationToken, now_ms: u64) -> Self {
        Self {
            first_request: now_ms,
            ..Self::of(name, Instant::now(), peer, cancel)
        }
    }
}

/// Gets a request of a session ready and running.
pub(super) async fn begin(
    shared: &Arc<Shared>,
    parts: Parts,
    live: &Arc<Live>,
    request: Request<'_>,
    peek: Peek,
    run: Run,
) -> Result<RunningCall, Refusal> {
    if request.method == "initialize" {
        return Err(Refusal::NotAMessage("`initialize` cannot be part of a batch"));
    }
    // To a client of this era, a method of the next does not exist.
    if is_modern_only(&request.method) {
        let refusal = Refusal::MethodNotFound(request.method.into_owned());
        return Ok(refused(&refusal, Some(&request.id)));
    }
    let resource = resource(&request.method);
    let place = place(&run.peer, resource)?;
    let count = match resource {
        Resource::Calls => Some(count(shared, &live.id)?),
        _ => None,
    };
    let typed = typed_request(&request.method, request.params)?;
    if let Some(level) = level_to_set(shared, &typed) {
        Box::pin(shared.sessions.change(live, &Change::LogLevel(level))).await?;
        return Ok(done(request.id));
    }
    let then = change_of(&typed)?.map(|change| Then {
        sessions: shared.sessions.clone(),
        board: Arc::clone(&shared.board),
        live: Arc::clone(live),
        change,
    });
    let call = Call {
        name: run.name,
        began: run.began,
        first_request: run.first_request,
        id: request.id,
        method: method_label(&request.method),
        request: typed,
        meta: peek.meta,
        caller: caller(shared, live, run.peer.peer(), run.connection),
        logs: LogGate::Session(Arc::clone(live)),
        parts,
        cancel: run.cancel,
        then,
        places: Places {
            node: place,
            session: count,
        },
        session: Some(Arc::clone(live)),
    };
    Ok(call::run(Arc::clone(&shared.runner), call, run.out))
}

/// Counts a call of a session in.
fn count(shared: &Shared, session: &SessionId) -> Result<InFlight, Refusal> {
    let max = shared.settings.call.session_max;
    let count = shared.board.calls.begin(session, max);
    count.ok_or(Refusal::TooMany(
        "the session has as many calls in flight as it may (call.session_max)",
    ))
}

/// Takes a notification; `came` is when it did.
pub(super) async fn notice(
    shared: &Arc<Shared>,
    mut live: &Arc<Live>,
    peer: &Arc<PeerUse>,
    notification: &Notification<'_>,
    came: Instant,
) -> Result<(), Refusal> {
    let kept;
    match notification.method.as_ref() {
        "notifications/cancelled" => {
            let cancelled: Cancelled<'_> = notification
                .params
                .and_then(|params| serde_json::from_str(params.get()).ok())
                .ok_or(Refusal::NotAMessage(
                    "notifications/cancelled needs params.requestId",
                ))?;
            let request = parse_id(cancelled.request_id)?;
            return shared.board.cancel(live, &request, came).await;
        }
        "notifications/initialized" if !live.record.initialized => {
            shared.sessions.change(live, &Change::Initialized).await?;
            // Only from here on does this node keep it: what was found before would be told of no change.
            kept = shared
                .sessions
                .recall(&live.id)
                .await?
                .ok_or(Refusal::SessionNotFound)?;
            live = &kept;
            shared.board.sync(live, Tell::Nothing).await?;
        }
        _ => {}
    }
    let place = place(peer, Resource::Notifications)?;
    let typed = typed_notification(&notification.method, notification.params)?;
    let caller = caller(shared, live, peer.peer(), Connection::default());
    let handler = Arc::clone(&shared.runner.handler);
    let wire = outside(shared, live);
    let limit = shared.settings.call.timeout;
    shared.work.spawn("notification", async move {
        notify::deliver(typed, caller, handler, wire, limit).await;
        drop(place);
    });
    Ok(())
}

#[derive(Deserialize)]
struct Cancelled<'a> {
    #[serde(rename = "requestId", borrow)]
    request_id: &'a RawValue,
}

pub(super) async fn give_answer(
    shared: &Shared,
    live: &Live,
    response: ClientResponse<'_>,
) -> Result<(), Refusal> {
    let Some(id) = response.id else {
        tracing::debug!(session = live.tag, "a client's error names no request");
        return Ok(());
    };
    shared.board.answer(live, &id, response.outcome).await
}

/// The level that `logging/setLevel` asks for. The session keeps it, so a server that declares the capability need
/// not implement the method.
#[expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients still use it"
)]
fn level_to_set(shared: &Shared, request: &ClientRequest) -> Option<LogLevel> {
    match request {
        ClientRequest::SetLevelRequest(set) if shared.info.capabilities.logging.is_some() => {
            Some(set.params.level.into())
        }
        _ => None,
    }
}

/// What a request changes in the session when the handler agrees to it.
fn change_of(request: &ClientRequest) -> Result<Option<Change>, Refusal> {
    let (uri, change): (&str, fn(String) -> Change) = match request {
        ClientRequest::SubscribeRequest(request) => (&request.params.uri, Change::Subscribe),
        ClientRequest::UnsubscribeRequest(request) => (&request.params.uri, Change::Unsubscribe),
        _ => return Ok(None),
    };
    if uri.is_empty() || uri.len() > SUBSCRIPTION_URI_BYTES_MAX {
        return Err(Refusal::InvalidParams(format!(
            "`uri` must have 1 to {SUBSCRIPTION_URI_BYTES_MAX} bytes"
        )));
    }
    Ok(Some(change(uri.to_owned())))
}

/// An empty result, without a handler.
fn done(id: RequestId) -> RunningCall {
    let message = ServerJsonRpcMessage::response(ServerResult::empty(()), id);
    let body = serde_json::to_vec(&message).ok().map(Bytes::from);
    RunningCall::ended(Finished {
        body,
        status: StatusCode::OK,
    })
}

fn refused(refusal: &Refusal, id: Option<&RequestId>) -> RunningCall {
    metrics::refused(refusal.label());
    let body = error_body(id, &refusal.to_error());
    RunningCall::ended(Finished {
        body: Some(body.into()),
        status: StatusCode::OK,
    })
}

pub(super) fn caller(shared: &Arc<Shared>, live: &Arc<Live>, peer: &Peer, connection: Connection) -> Caller {
    let state = State::new(shared.sessions.states(), StateScope::Session(live.id.clone()));
    let who = live.who();
    let reach = Arc::new(ToClient {
        shared: Arc::clone(shared),
        live: Arc::clone(live),
    });
    Caller {
        revision: who.revision,
        node: shared.node.clone(),
        restored: live.restored,
        principal: live.record.principal.clone(),
        notebooks: shared.notebooks(&live.record.principal, peer),
        peer: peer.clone(),
        client: Some(Arc::clone(&who.client)),
        capabilities: who.capabilities,
        session: Some(Session::new(live.id.clone(), who.client, state, reach)),
        connection,
        tasks: shared.tasks(&live.record.principal, peer),
        announcer: shared.announcer(),
        request_state: shared.request_state(),
    }
}
