//! What the handlers of a session say beside its replies, because those are single JSON bodies or there is none.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::RequestId;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::noted::Noted;
use super::{Shared, legacy};
use crate::cluster::Live;
use crate::config::ReplyForm;
use crate::session::{Connection, Peer, Reach, SessionPeer};
use crate::store::streams::{CallRecord, StreamId};
use crate::transport::aside::{Aside, Unheard};
use crate::transport::call::peer_info;
use crate::transport::calls::{ANSWERS_WAITING_MAX, Answers, OpenRequests};
use crate::transport::peer::{self, LogGate, Wire, WireSettings};
use crate::transport::reply::outbound;

/// Takes what a call sends whose reply is a single body to the session's standing stream.
pub(super) fn beside_reply(shared: &Arc<Shared>, live: &Arc<Live>, noted: &Noted) -> Sender<Bytes> {
    let (out, messages) = outbound();
    let record = noted.record(shared, Some(StreamId::standalone()));
    let aside = Aside {
        began: noted.began,
        ..aside(shared, live, record, Unheard::Refused)
    };
    shared.work.spawn("aside", aside.run(messages, pending()));
    out
}

/// Takes what a call of a batch sends to the stream of the batch's reply, which is not logged: its questions are made known, so that
/// their answers find it from any node.
#[derive(Debug)]
pub(super) struct WithinReply {
    over: CancellationToken,
    told: oneshot::Receiver<()>,
}

impl WithinReply {
    /// Waits until all is told that the call has sent. It is over.
    pub(super) async fn end(self) {
        self.over.cancel();
        // It fails when the node stops.
        drop(self.told.await);
    }
}

/// The way from a call of a batch to the stream of the batch's reply.
pub(super) fn within_reply(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    noted: &Noted,
    reply: Sender<Bytes>,
) -> (Sender<Bytes>, WithinReply) {
    let (out, messages) = outbound();
    let (over, (all_told, told)) = (CancellationToken::new(), oneshot::channel());
    let record = noted.record(shared, Some(StreamId::standalone()));
    let aside = Aside {
        began: noted.began,
        reply: Some(reply),
        ..aside(shared, live, record, Unheard::Kept)
    };
    let end = over.clone().cancelled_owned();
    shared.work.spawn("within-reply", async move {
        aside.run(messages, end).await;
        drop(all_told);
    });
    (out, WithinReply { over, told })
}

/// Reaches the client of a session outside any request.
#[derive(Debug)]
pub(super) struct ToClient {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
}

impl Reach for ToClient {
    fn peer(&self) -> SessionPeer {
        let info = peer_info(&legacy::caller(
            &self.shared,
            &self.live,
            &Peer::Unknown,
            Connection::default(),
        ));
        let open = peer::open(info, outside(&self.shared, &self.live));
        SessionPeer::new(open.peer().clone(), Arc::new(open))
    }
}

/// A wire to the session's standing stream, for what belongs to no request.
pub(super) fn outside(shared: &Arc<Shared>, live: &Arc<Live>) -> Wire {
    let name = StreamId::generate();
    let record = CallRecord {
        stream: StreamId::standing(live.record.transport),
        name: name.clone(),
        node: shared.node.clone(),
        request: String::new(),
        method: "outside".to_owned(),
        started_ms: shared.now_ms(),
        body: None,
        cancelled: false,
    };
    let unheard = match shared.settings.call.reply {
        ReplyForm::Json => Unheard::Refused,
        ReplyForm::Auto | ReplyForm::Sse => Unheard::Kept,
    };
    let (out, messages) = outbound();
    let (sender, answers_in) = mpsc::channel(ANSWERS_WAITING_MAX);
    let open = OpenRequests::default();
    let answers = Answers {
        sender,
        open: open.clone(),
    };
    let name: Arc<str> = name.as_str().into();
    let cancel = CancellationToken::new();
    let id = RequestId::String(Arc::clone(&name));
    let registered = shared.board.calls.register(
        live.id.clone(),
        id,
        Arc::clone(&name),
        Instant::now(),
        cancel,
        Some(answers),
    );
    let aside = aside(shared, live, record, unheard);
    let (ended, stopping) = (live.ended.clone(), shared.work.stopping().clone());
    shared.work.spawn("outside", async move {
        let end = async {
            tokio::select! {
                () = ended.cancelled() => {}
                () = stopping.cancelled() => {}
            }
        };
        aside.run(messages, end).await;
        // Whoever still waits for an answer is told that none will come.
        drop(registered);
    });
    let settings = WireSettings {
        name,
        first_request: 0,
        logs: LogGate::Session(Arc::clone(live)),
        capabilities: live.who().capabilities,
        answer_timeout: shared.settings.call.answer_timeout,
        announcer: shared.announcer(),
        listeners: Arc::clone(&shared.board.listeners),
        open,
    };
    Wire::new(settings, out, answers_in)
}

/// What says things to the session as the call of that record.
pub(super) fn aside(shared: &Shared, live: &Arc<Live>, record: CallRecord, unheard: Unheard) -> Aside {
    Aside {
        board: Arc::clone(&shared.board),
        live: Arc::clone(live),
        record,
        began: Instant::now(),
        ttl: shared.settings.session.ttl,
        unheard,
        reply: None,
        patience: shared.settings.store.outage_grace,
        leaving: shared.leaving.clone(),
    }
}
