//! What a node does for a client of 2024-11-05 (HTTP with SSE). A session has one stream, on which everything
//! comes that the server sends. Any node carries it, and any node takes what the client posts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use rmcp::ErrorData;
use rmcp::model::{RequestId, ServerJsonRpcMessage, ServerResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug};

use super::changes::Tell;
use super::dispatch::{Run, permit, resource};
use super::incoming::{Incoming, Requester};
use super::open_stream::FOREIGN;
use super::pending_call::PendingCall;
use super::request::RequestMeta;
use super::running_call::{Finished, RunningCall};
use super::shares::Share;
use super::stream_writer::{SOCKET_EVENTS_MAX, StreamWriter, WriterOptions};
use super::watch::Glimpse;
use super::{Engine, handshake};
use crate::cluster::{CachedSession, SessionError};
use crate::protocol::error::{Refusal, error_body};
use crate::protocol::event_id::EventId;
use crate::protocol::message::{Message, Request};
use crate::protocol::sse;
use crate::session::{Introduction, Principal, SessionId, SessionRecord, TransportKind};
use crate::store::calls::Begun;
use crate::store::streams::{StreamId, holder_of};
use crate::store::{Change, Created, NodeMessage, Recipients};
use crate::telemetry::metrics::{self, StreamKind};

/// The shortest key by which a client may name its session, in characters. 32 of hexadecimal hold 128 bits.
const CLIENT_KEY_CHARS_MIN: usize = 32;
/// How long a message waits for a stream that was lost just now: a client opens it again after
/// [`RETRY_MS`](sse::RETRY_MS).
const STREAM_BACK_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks whether the stream is back.
const STREAM_LOOK_EVERY: Duration = Duration::from_millis(100);

/// The stream of a session, opened.
#[derive(Debug)]
pub(crate) struct SseStream {
    /// The session.
    pub cached: Arc<CachedSession>,
    /// Server-sent events, as they go to the client.
    pub events: mpsc::Receiver<Bytes>,
}

/// Whether the session of a new connection was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionOrigin {
    Made,
    Found,
}

impl Engine {
    /// Opens a session with its stream, or takes up that of the session that is `named`, after
    /// `last_event_id` if the client says one. `taker` is who does, if that is known.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn open_sse(
        self: &Arc<Self>,
        incoming: &Incoming,
        named: Option<&str>,
        last_event_id: Option<&str>,
        taker: Option<&Glimpse<'_>>,
        permit: Share,
    ) -> Result<SseStream, Refusal> {
        let Requester { identity, peer, .. } = &incoming.requester;
        let (principal, peer) = (identity.principal(), peer.peer());
        let (cached, opened) = match named {
            None => {
                self.count_opening(incoming).await?;
                let record = self.sse_newcomer(principal);
                let id = self.sessions.open(&record, peer).await?;
                self.note_made(&id, &record, peer, incoming.from.as_deref());
                (
                    self.session(&id, principal, TransportKind::Sse).await?,
                    SessionOrigin::Made,
                )
            }
            Some(text) => self.take_up(text, incoming).await?,
        };
        let stream = StreamId::sse();
        let resumed = match last_event_id.filter(|_| opened == SessionOrigin::Found) {
            Some(id) => Some(number(id)?),
            None => None,
        };
        // A request that is refused takes the stream from nobody.
        if let Some(after) = resumed {
            let _more = self.check_resumable(&cached, &stream, after).await?;
        }
        let (carried, delivered) = self.attach(&cached, &stream, taker).await?;
        // Nobody was told of changes while nobody carried the stream. A new session hears of changes from now
        // on.
        let tell = match opened {
            SessionOrigin::Found => Tell::Changes,
            SessionOrigin::Made => Tell::Nothing,
        };
        self.sync_or_later(&cached, tell).await;
        let options = WriterOptions {
            kind: StreamKind::Sse,
            after: resumed.unwrap_or(delivered),
            has_id: resumed.is_some(),
            prime: false,
            note_delivered: true,
            draining: self.stopping.leaving.clone(),
            // Its client would lose the session with its stream.
            until: None,
        };
        let (client, events) = mpsc::channel(SOCKET_EVENTS_MAX);
        let messages = self
            .settings
            .http
            .reference(&format!("messages?sessionId={}", cached.id.as_str()));
        if client.try_send(sse::endpoint(&messages)).is_err() {
            return Err(Refusal::Internal);
        }
        let writer = StreamWriter::new(Arc::clone(self), stream, carried, options, client);
        // Not in a block of its own, which would keep room for the writer twice.
        self.work
            .spawn("write-stream", writer.run().map(move |_parted| drop(permit)));
        Ok(SseStream { cached, events })
    }

    /// The session of that name; with `sse.client_keys` it is made if need be.
    async fn take_up(
        self: &Arc<Self>,
        text: &str,
        incoming: &Incoming,
    ) -> Result<(Arc<CachedSession>, SessionOrigin), Refusal> {
        let Requester { identity, peer, .. } = &incoming.requester;
        let (principal, peer) = (identity.principal(), peer.peer());
        let id = SessionId::parse(text).ok_or(Refusal::SessionNotFound)?;
        let key = self.settings.sse.client_keys && text.len() >= CLIENT_KEY_CHARS_MIN;
        match self.session(&id, principal, TransportKind::Sse).await {
            Err(Refusal::SessionNotFound) if key => {
                self.count_opening(incoming).await?;
                let record = self.sse_newcomer(principal);
                let opened = match self.sessions.open_as(&id, &record, peer).await? {
                    Created::Created => {
                        self.note_made(&id, &record, peer, incoming.from.as_deref());
                        SessionOrigin::Made
                    }
                    // It was made just now by another connection, or is not this principal's.
                    Created::Collision => SessionOrigin::Found,
                    Created::Full(full) => return Err(SessionError::TooMany(full).into()),
                };
                Ok((self.session(&id, principal, TransportKind::Sse).await?, opened))
            }
            found => Ok((found?, SessionOrigin::Found)),
        }
    }

    /// The session of a client that has not introduced itself. With `sse.continue` it need not.
    fn sse_newcomer(&self, principal: &Principal) -> SessionRecord {
        let record = self.new_record(Introduction::missing(), TransportKind::Sse, principal.clone());
        SessionRecord {
            initialized: self.settings.sse.skip_initialize,
            ..record
        }
    }

    /// Takes a message of the session's client: what it is answered comes on the session's stream.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn sse_message(
        self: &Arc<Self>,
        incoming: Incoming,
        cached: &Arc<CachedSession>,
        message: Message<'_>,
    ) -> Result<(), Refusal> {
        self.check_stream(cached).await?;
        match message {
            Message::Request(request) => self.answer_on_stream(incoming, cached, request).await,
            Message::Notification(notification) => self.notification(incoming, cached, &notification).await,
            Message::Response(response) => self.response(cached, response).await,
        }
    }

    /// Refuses a message when nobody carries the session's stream: no answer could reach the client.
    async fn check_stream(&self, cached: &CachedSession) -> Result<(), Refusal> {
        let until = Instant::now() + STREAM_BACK_WITHIN;
        let mut asked = false;
        while let Some(reason) = self.why_lost(cached).await? {
            if !std::mem::replace(&mut asked, true) {
                // A connection that carries the stream may have been forgotten, or one may wait to carry it:
                // they are told to look.
                let message = NodeMessage::stream(&cached.id, &StreamId::sse());
                self.store.send(Recipients::All, &message).await?;
            }
            if Instant::now() >= until {
                // A store that came back empty knows neither the stream nor its session.
                self.sessions.confirm(&cached.id).await?;
                let sse = format!("sse?sessionId={}", cached.id.as_str());
                let reconnect = self.settings.http.reference(&sse);
                return Err(Refusal::StreamLost { reconnect, reason });
            }
            sleep(STREAM_LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn why_lost(&self, cached: &CachedSession) -> Result<Option<&'static str>, Refusal> {
        const UNCONNECTED: &str = "no connection carries it";
        let stream = StreamId::sse();
        if self.streams.carries(&cached.id, &stream) {
            return Ok(None);
        }
        let Some(holder) = holder_of(&*self.store, &cached.id, &stream).await? else {
            return Ok(Some(UNCONNECTED));
        };
        if holder.node == self.node {
            // It was carried by a former life of this node.
            return Ok(Some(UNCONNECTED));
        }
        let nodes = std::slice::from_ref(&holder.node);
        let gone = !self.membership.dead_among(&*self.store, nodes).await?.is_empty();
        Ok(gone.then_some("the node that carried it is gone"))
    }

    /// Has a request answered: everything it sends, and the response, goes into the stream's log.
    async fn answer_on_stream(
        self: &Arc<Self>,
        incoming: Incoming,
        cached: &Arc<CachedSession>,
        request: Request<'_>,
    ) -> Result<(), Refusal> {
        let meta = RequestMeta::read(request.params);
        let tool = meta.as_ref().ok().and_then(|meta| meta.name.clone());
        let pending = PendingCall::new(incoming.began, &request).repeatable(
            incoming.body.clone(),
            incoming.requester.clone(),
            tool,
        );
        let (id, cancel) = (request.id.clone(), CancellationToken::new());
        let running = match request.method.as_ref() {
            "initialize" => self.introduce(&incoming, cached, request).await,
            "ping" => {
                self.begin_on_stream(incoming, cached, request, meta, &pending, &cancel)
                    .await
            }
            _ if cached.record.initialized || cached.is_introduced() => {
                self.begin_on_stream(incoming, cached, request, meta, &pending, &cancel)
                    .await
            }
            _ => {
                let words = "the session is not initialized: send `initialize` first";
                Ok(ended(&id, &ErrorData::invalid_request(words, None)))
            }
        };
        let running = match running {
            // What has no HTTP status of its own is an answer like any other.
            Err(refusal) if refusal.is_response() => {
                metrics::refused(refusal.label());
                ended(&id, &refusal.to_error())
            }
            running => running?,
        };
        // The client hears nothing but 202. If this node dies, another must find the call.
        let mut durable = pending.into_durable(self, cached, Some(StreamId::sse()));
        let registered = match durable.register().await {
            Ok(registered) => registered,
            Err(error) => {
                self.work.spawn("take-off", durable.take_off());
                return Err(error.into());
            }
        };
        match registered {
            Begun::Begun => self
                .work
                .spawn("call", durable.follow(running, cancel).in_current_span()),
            Begun::Cancelled => debug!(session = cached.tag, "a request was cancelled before it began"),
            Begun::Gone => return Err(self.session_gone(cached).await),
        }
        Ok(())
    }

    async fn begin_on_stream(
        self: &Arc<Self>,
        incoming: Incoming,
        cached: &Arc<CachedSession>,
        request: Request<'_>,
        meta: Result<RequestMeta, Refusal>,
        pending: &PendingCall,
        cancel: &CancellationToken,
    ) -> Result<RunningCall, Refusal> {
        let run = Run::first(pending, incoming.requester, cancel.clone()).from(incoming.from);
        self.begin(cached, request, meta?, run).await
    }

    /// `initialize`: the session is there already, and learns who its client is. A client that was started
    /// again, and names its session by a key of its own, may introduce itself once more.
    async fn introduce(
        self: &Arc<Self>,
        incoming: &Incoming,
        cached: &Arc<CachedSession>,
        request: Request<'_>,
    ) -> Result<RunningCall, Refusal> {
        let _permit = permit(&incoming.requester.peer, resource(&request.method))?;
        let params = handshake::parse(request.params)?;
        let mut introduction = self.introduction(&params, incoming)?;
        let mut record = SessionRecord {
            revision: introduction.revision,
            client_info: introduction.client_info.clone(),
            capabilities: introduction.capabilities.clone(),
            ..cached.record.clone()
        };
        let result = match self.negotiate(params, incoming, &mut record).await {
            Ok(result) => result,
            Err(error) => return Ok(ended(&request.id, &error)),
        };
        introduction.revision = record.revision;
        let change = Change::Introduced(Box::new(introduction));
        self.sessions.change(cached, &change).await?;
        let message = ServerJsonRpcMessage::response(ServerResult::InitializeResult(result), request.id);
        let body = serde_json::to_vec(&message).map_err(|error| handshake::internal(&error))?;
        Ok(RunningCall::ended(Finished::answered(body.into())))
    }
}

/// A call that has ended with that error.
fn ended(id: &RequestId, error: &ErrorData) -> RunningCall {
    RunningCall::ended(Finished::answered(error_body(Some(id), error).into()))
}

/// The number in a `Last-Event-ID` of the one stream there is.
fn number(text: &str) -> Result<u64, Refusal> {
    EventId::parse(text)
        .filter(|id| id.stream == StreamId::SSE)
        .map(|id| id.number)
        .ok_or(FOREIGN)
}
