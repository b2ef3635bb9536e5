//! What a node does with a message of a session on `/mcp`: revisions from 2025-03-26 to 2025-11-25.

use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::{ClientRequest, RequestId, ServerJsonRpcMessage, ServerResult};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Engine;
use super::call::{self, Call, Permits};
use super::call_transport::LogGate;
use super::calls::InFlight;
use super::cancel::CancelledRequest;
use super::changes::Tell;
use super::incoming::{Incoming, Requester};
use super::notify;
use super::pending_call::PendingCall;
use super::reply::{Flight, Reply, ReplyTimes};
use super::request::{RequestMeta, typed_notification, typed_request};
use super::running_call::{Finished, RunningCall};
use super::session_outbox::{ClientPeers, beside_reply, outside};
use super::shares::{PeerUse, Resource, Share};
use super::unknown_method::unknown_method;
use crate::audit::CameFrom;
use crate::cluster::{CachedSession, SessionError};
use crate::config::ReplyForm;
use crate::protocol::classify::is_modern_only;
use crate::protocol::era::Era;
use crate::protocol::error::{Refusal, error_body};
use crate::protocol::message::{Notification, Request, Response};
use crate::session::SessionRecord;
use crate::session::state::StateScope;
use crate::session::{Caller, Connection, LogLevel, Principal, Session, SessionId, State, TransportKind};
use crate::store::streams::StreamId;
use crate::store::{Change, StoreError};
use crate::telemetry::metrics::{self, method_label};

mod batch;

impl Engine {
    /// The session of that id, if it is this principal's and was opened over that transport: its streams and
    /// endpoints are that one's.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn session(
        &self,
        id: &SessionId,
        principal: &Principal,
        transport: TransportKind,
    ) -> Result<Arc<CachedSession>, Refusal> {
        let cached = self.sessions.find(id, principal).await?;
        match cached.record.transport == transport {
            true => Ok(cached),
            false => Err(Refusal::SessionNotFound),
        }
    }

    /// A request of a session.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn request(
        self: &Arc<Self>,
        incoming: Incoming,
        cached: Arc<CachedSession>,
        request: Request<'_>,
        mut meta: RequestMeta,
    ) -> Result<Reply, Refusal> {
        let cancel = CancellationToken::new();
        let tool = meta.name.take();
        let Incoming {
            requester,
            began,
            form,
            body,
            address: _,
            from,
        } = incoming;
        let pending = PendingCall::new(began, &request).repeatable(body, requester.clone(), tool);
        let mut run = Run::first(&pending, requester, cancel.clone()).from(from);
        let single = form == ReplyForm::Json;
        if single {
            run.out = Some(beside_reply(self, &cached, &pending));
        } else {
            run.connection = Connection::new(Arc::clone(&pending.close_connection));
        }
        let running = self.begin(&cached, request, meta, run).await?;
        let flight = Flight::new(running, cancel, true, self.work.clone());
        let flight = match single {
            true => flight,
            false => flight.durable(self, &cached, pending),
        };
        Ok(flight.reply(self.reply_times(form)).await)
    }

    /// Ends a session everywhere, for good.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn end_session(
        &self,
        id: &SessionId,
        principal: &Principal,
        from: Option<&CameFrom>,
    ) -> Result<(), Refusal> {
        let ended = self.end_own_session(id, principal).await;
        if ended.is_ok() {
            self.note_ended(id, principal, from);
        }
        ended
    }

    async fn end_own_session(&self, id: &SessionId, principal: &Principal) -> Result<(), Refusal> {
        match self.sessions.find(id, principal).await {
            Ok(cached) if cached.record.transport != TransportKind::Streamable => {
                Err(Refusal::SessionNotFound)
            }
            Ok(cached) => Ok(self.sessions.end(&cached.id).await?),
            // The session may exist in a record that this node cannot read. Ending it needs no reading.
            Err(unread @ (SessionError::NotFound | SessionError::Store(StoreError::Newer(_)))) => {
                match self.sessions.end_unread(id, principal).await {
                    Err(SessionError::NotFound) => Err(unread.into()),
                    ended => Ok(ended?),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether and when a reply of that form turns into a stream.
    #[must_use]
    pub(crate) const fn reply_times(&self, form: ReplyForm) -> ReplyTimes {
        let call = &self.settings.call;
        ReplyTimes {
            form,
            grace: call.reply_grace,
            keep_alive: call.keep_alive,
        }
    }

    /// Gets a request of a session ready and running.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn begin(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        request: Request<'_>,
        meta: RequestMeta,
        run: Run,
    ) -> Result<RunningCall, Refusal> {
        if request.method == "initialize" {
            return Err(Refusal::NotAMessage("`initialize` cannot be part of a batch"));
        }
        // To a client of this era, a method of the next does not exist.
        if is_modern_only(&request.method) {
            let refusal = Refusal::MethodNotFound(unknown_method(&request.method, Era::Legacy));
            return Ok(refused(&refusal, Some(&request.id)));
        }
        let resource = resource(&request.method);
        let node = permit(&run.requester.peer, resource)?;
        let kept = match resource {
            Resource::Calls => self.note_initialized(cached).await,
            _ => None,
        };
        // Only a copy that this node keeps hears of the session's end.
        let cached = kept.as_ref().unwrap_or(cached);
        let session = match resource {
            Resource::Calls => Some(self.count(&cached.id)?),
            _ => None,
        };
        let typed = typed_request(&request.method, request.params)?;
        if let Some(level) = self.level_to_set(&typed) {
            Box::pin(self.sessions.change(cached, &Change::LogLevel(level))).await?;
            return Ok(done(request.id));
        }
        let on_success = change_of(&typed)?;
        let call = Call {
            name: run.name,
            began: run.began,
            first_request: run.first_request,
            id: request.id,
            method: method_label(&request.method),
            request: typed,
            meta: meta.meta,
            body: Bytes::new(),
            caller: self.caller(cached, &run.requester, run.connection),
            logs: LogGate::Session(Arc::clone(cached)),
            listens: None,
            cancel: run.cancel,
            on_success,
            permits: Permits::new(node, session),
            session: Some(Arc::clone(cached)),
            from: run.from,
        };
        Ok(call::run(Arc::clone(self), call, run.out))
    }

    /// Counts a new call of a session.
    fn count(&self, session: &SessionId) -> Result<InFlight, Refusal> {
        let count = self.calls.begin(session, self.settings.call.session_max);
        count.ok_or(Refusal::TooMany(
            "the session's limit of calls in flight is reached (call.session_max)",
        ))
    }

    /// A notification of a session.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn notification(
        self: &Arc<Self>,
        incoming: Incoming,
        mut cached: &Arc<CachedSession>,
        notification: &Notification<'_>,
    ) -> Result<(), Refusal> {
        let kept;
        match notification.method.as_ref() {
            "notifications/cancelled" => {
                let cancelled = CancelledRequest::read(notification)?;
                return self.cancel(cached, &cancelled, incoming.began).await;
            }
            "notifications/initialized" if !cached.record.initialized => {
                kept = self.initialized(cached).await?;
                cached = &kept;
            }
            _ => {}
        }
        let permit = permit(&incoming.requester.peer, Resource::Notifications)?;
        let typed = typed_notification(&notification.method, notification.params)?;
        let caller = self.caller(cached, &incoming.requester, Connection::default());
        let handler = Arc::clone(&self.handler);
        let transport = outside(self, cached);
        let limit = self.settings.call.timeout;
        let delivered = async move {
            notify::deliver(typed, caller, handler, transport, limit).await;
            drop(permit);
        };
        // In the request's span, which names the session.
        self.work.spawn("notification", delivered.in_current_span());
        Ok(())
    }

    /// A client's response to a request of the server.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn response(
        &self,
        cached: &CachedSession,
        response: Response<'_>,
    ) -> Result<(), Refusal> {
        let Some(id) = response.id else {
            tracing::debug!(session = cached.tag, "a client's error names no request");
            return Ok(());
        };
        self.answer(cached, &id, response.outcome).await
    }

    /// A client that calls has read the answer to its `initialize`. It counts as initialized from then on:
    /// clients written by hand leave `notifications/initialized` out, and a session in use that ends after a
    /// minute is hard to understand. Returns the copy that this node keeps since.
    async fn note_initialized(&self, cached: &Arc<CachedSession>) -> Option<Arc<CachedSession>> {
        if cached.record.initialized || !cached.is_introduced() {
            return None;
        }
        let initialized = Box::pin(self.initialized(cached)).await;
        let noted = initialized.inspect_err(|refusal| {
            let reason = refusal.label();
            tracing::debug!(
                session = cached.tag,
                reason,
                "could not note yet that a session is initialized"
            );
        });
        noted.ok()
    }

    /// Notes that a session is initialized. Only from then on does this node keep it: a copy that was read
    /// before would be told of no change.
    async fn initialized(&self, cached: &Arc<CachedSession>) -> Result<Arc<CachedSession>, Refusal> {
        self.sessions.change(cached, &Change::Initialized).await?;
        let kept = self.sessions.recall(&cached.id).await?;
        let kept = kept.ok_or(Refusal::SessionNotFound)?;
        self.sync(&kept, Tell::Nothing).await?;
        Ok(kept)
    }

    /// The level that `logging/setLevel` asks for. The session keeps it, so a server that declares the
    /// capability need not implement the method.
    #[expect(
        deprecated,
        reason = "SEP-2577 deprecates logging; legacy clients still use it"
    )]
    fn level_to_set(&self, request: &ClientRequest) -> Option<LogLevel> {
        match request {
            ClientRequest::SetLevelRequest(set) if self.info.capabilities.logging.is_some() => {
                Some(set.params.level.into())
            }
            _ => None,
        }
    }

    /// The caller of what a session's client sends.
    pub(super) fn caller(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        requester: &Requester,
        connection: Connection,
    ) -> Caller {
        let peer = requester.peer.peer();
        let state = State::new(self.sessions.states(), StateScope::Session(cached.id.clone()));
        let who = cached.who();
        let peers = Arc::new(ClientPeers {
            engine: Arc::clone(self),
            cached: Arc::clone(cached),
        });
        Caller {
            revision: who.revision,
            node: self.node.clone(),
            restored: cached.restored,
            principal: cached.record.principal.clone(),
            identity: requester.identity.clone(),
            notebooks: self.notebooks(&cached.record.principal, peer),
            peer: peer.clone(),
            client: Some(Arc::clone(&who.client)),
            capabilities: who.capabilities,
            session: Some(Session::new(cached.id.clone(), who.client, state, peers)),
            connection,
            request: requester.info.clone(),
            tasks: self.tasks_of(&cached.record.principal, peer),
            announcer: self.announcer(),
            request_state: self.request_state(),
            asking: None,
        }
    }
}

/// Which run of a call it is, what stops it, and where what it sends goes.
#[derive(Debug)]
pub(crate) struct Run {
    name: StreamId,
    began: Instant,
    first_request: u64,
    requester: Requester,
    cancel: CancellationToken,
    connection: Connection,
    /// Where its messages go, if not to its own reply.
    out: Option<Sender<Bytes>>,
    /// Where it came from, if the audit log wants to know that.
    from: Option<Arc<CameFrom>>,
}

impl Run {
    /// The first run of that call.
    pub(super) fn first(pending: &PendingCall, requester: Requester, cancel: CancellationToken) -> Self {
        Self {
            name: pending.name.clone(),
            began: pending.began,
            first_request: 0,
            requester,
            cancel,
            connection: Connection::default(),
            out: None,
            from: None,
        }
    }

    /// The same, which came from there.
    pub(super) fn from(self, from: Option<Arc<CameFrom>>) -> Self {
        Self { from, ..self }
    }

    /// The same, with its messages sent to `out`.
    fn to(self, out: Sender<Bytes>) -> Self {
        Self {
            out: Some(out),
            ..self
        }
    }

    /// Another, after the node of the first was lost. Its requests to the client have new numbers: answers
    /// to those of the first may be there already.
    pub(super) fn again(
        name: StreamId,
        requester: Requester,
        cancel: CancellationToken,
        now_ms: u64,
    ) -> Self {
        Self {
            name,
            began: Instant::now(),
            first_request: now_ms,
            requester,
            cancel,
            connection: Connection::default(),
            out: None,
            from: None,
        }
    }
}

/// Takes one permit of a resource.
pub(super) fn permit(peer: &Arc<PeerUse>, resource: Resource) -> Result<Share, Refusal> {
    peer.take(resource, 1).map_err(Refusal::TooMany)
}

/// The resource of which a request takes a permit. Pings and `initialize` use their own permits, so a full
/// node still answers them.
pub(super) fn resource(method: &str) -> Resource {
    match method {
        "ping" | "initialize" | "server/discover" => Resource::Light,
        "subscriptions/listen" => Resource::Listeners,
        _ => Resource::Calls,
    }
}

/// What a request changes in the session when the handler agrees to it.
fn change_of(request: &ClientRequest) -> Result<Option<Change>, Refusal> {
    let (uri, change): (&str, fn(String) -> Change) = match request {
        ClientRequest::SubscribeRequest(request) => (&request.params.uri, Change::Subscribe),
        ClientRequest::UnsubscribeRequest(request) => (&request.params.uri, Change::Unsubscribe),
        _ => return Ok(None),
    };
    if uri.is_empty() || uri.len() > SessionRecord::SUBSCRIPTION_URI_BYTES_MAX {
        return Err(Refusal::InvalidParams(format!(
            "`uri` must have 1 to {} bytes",
            SessionRecord::SUBSCRIPTION_URI_BYTES_MAX
        )));
    }
    Ok(Some(change(uri.to_owned())))
}

/// An empty result, without a handler.
fn done(id: RequestId) -> RunningCall {
    let message = ServerJsonRpcMessage::response(ServerResult::empty(()), id);
    let body = serde_json::to_vec(&message).unwrap_or_default();
    RunningCall::ended(Finished::answered(body.into()))
}

fn refused(refusal: &Refusal, id: Option<&RequestId>) -> RunningCall {
    metrics::refused(refusal.label());
    let body = error_body(id, &refusal.to_error());
    RunningCall::ended(Finished::answered(body.into()))
}
