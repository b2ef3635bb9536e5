//! The ways to a session's outbox: from a call whose reply is a single body, from a call of a batch, and from
//! outside any call.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::RequestId;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{SessionOutbox, WithoutStream};
use crate::cluster::CachedSession;
use crate::config::ReplyForm;
use crate::engine::Engine;
use crate::engine::call_transport::{self, CallTransport, CallTransportSettings, LogGate, peer_info};
use crate::engine::incoming::Requester;
use crate::engine::open_requests::{Answers, OpenRequests};
use crate::engine::pending_call::PendingCall;
use crate::engine::running_call::outbound;
use crate::session::{Connection, Peer, SessionPeer, SessionPeers};
use crate::store::Limits;
use crate::store::calls::CallRecord;
use crate::store::streams::StreamId;

/// Takes what a call sends to the session's standing stream, when the call's reply is a single body.
pub(crate) fn beside_reply(
    engine: &Arc<Engine>,
    cached: &Arc<CachedSession>,
    call: &PendingCall,
) -> Sender<Bytes> {
    let (out, messages) = outbound();
    let record = call.record(engine, Some(StreamId::standalone()));
    let outbox = SessionOutbox {
        began: call.began,
        ..SessionOutbox::of(engine, cached, record, WithoutStream::Refuse)
    };
    engine
        .work
        .spawn("session-outbox", outbox.run(messages, pending()));
    out
}

/// Takes what a call of a batch sends to the stream of the batch's reply, which is not logged: its questions
/// are made known, so that their answers find it from any node.
#[derive(Debug)]
pub(crate) struct WithinReply {
    over: CancellationToken,
    told: oneshot::Receiver<()>,
}

impl WithinReply {
    /// Waits until all that the call has sent is written. The call is over.
    pub(crate) async fn end(self) {
        self.over.cancel();
        // It fails when the node stops.
        drop(self.told.await);
    }
}

/// The way from a call of a batch to the stream of the batch's reply.
pub(crate) fn within_reply(
    engine: &Arc<Engine>,
    cached: &Arc<CachedSession>,
    call: &PendingCall,
    reply: Sender<Bytes>,
) -> (Sender<Bytes>, WithinReply) {
    let (out, messages) = outbound();
    let (over, (all_told, told)) = (CancellationToken::new(), oneshot::channel());
    let record = call.record(engine, Some(StreamId::standalone()));
    let outbox = SessionOutbox {
        began: call.began,
        reply: Some(reply),
        ..SessionOutbox::of(engine, cached, record, WithoutStream::Keep)
    };
    let end = over.clone().cancelled_owned();
    engine.work.spawn("within-reply", async move {
        outbox.run(messages, end).await;
        drop(all_told);
    });
    (out, WithinReply { over, told })
}

/// Reaches the client of a session outside any request.
#[derive(Debug)]
pub(crate) struct ClientPeers {
    /// The node's engine.
    pub engine: Arc<Engine>,
    /// The session.
    pub cached: Arc<CachedSession>,
}

impl SessionPeers for ClientPeers {
    fn peer(&self) -> SessionPeer {
        let requester = Requester::of_no_request(
            &self.cached.record.principal,
            self.engine.shares.of(Peer::Unknown),
        );
        let caller = self
            .engine
            .caller(&self.cached, &requester, Connection::default());
        let open = call_transport::open(peer_info(&caller), outside(&self.engine, &self.cached));
        SessionPeer::new(open.peer().clone(), Arc::new(open))
    }
}

/// A transport to the session's standing stream, for what belongs to no request.
pub(crate) fn outside(engine: &Arc<Engine>, cached: &Arc<CachedSession>) -> CallTransport {
    let name = StreamId::generate();
    let record = CallRecord {
        stream: StreamId::standing(cached.record.transport),
        name: name.clone(),
        node: engine.node.clone(),
        request: String::new(),
        method: "outside".to_owned(),
        started_ms: engine.now_ms(),
        body: None,
        cancelled: false,
    };
    let without_stream = match engine.settings.call.reply {
        ReplyForm::Json => WithoutStream::Refuse,
        ReplyForm::Auto | ReplyForm::Sse => WithoutStream::Keep,
    };
    let (out, messages) = outbound();
    let (sender, answers_in) = mpsc::channel(Limits::ANSWERS_WAITING_MAX);
    let open = OpenRequests::default();
    let answers = Answers {
        sender,
        open: open.clone(),
    };
    let name: Arc<str> = name.as_str().into();
    let cancel = CancellationToken::new();
    let id = RequestId::String(Arc::clone(&name));
    let registered = engine.calls.register(
        (cached.id.clone(), id),
        Arc::clone(&name),
        Instant::now(),
        cancel,
        Some(answers),
        None,
    );
    let outbox = SessionOutbox::of(engine, cached, record, without_stream);
    let (ended, stopping) = (cached.ended.clone(), engine.work.stopping().clone());
    engine.work.spawn("outside", async move {
        let end = async {
            tokio::select! {
                () = ended.cancelled() => {}
                () = stopping.cancelled() => {}
            }
        };
        outbox.run(messages, end).await;
        // Handlers that still wait for an answer are told that none will come.
        drop(registered);
    });
    let settings = CallTransportSettings {
        name,
        first_request: 0,
        logs: LogGate::Session(Arc::clone(cached)),
        capabilities: cached.who().capabilities,
        answer_timeout: engine.settings.call.answer_timeout,
        announcer: engine.announcer(),
        listens: None,
        open,
    };
    CallTransport::new(settings, out, answers_in)
}
