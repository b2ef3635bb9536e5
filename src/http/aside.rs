//! What the handlers of a session say beside its replies, because those are single JSON bodies or there is none.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender};

use super::Shared;
use crate::cluster::Live;
use crate::store::streams::CallRecord;
use crate::transport::aside::{Aside, Unheard};
use crate::transport::reply::outbound;

/// Takes what a call sends whose reply is a single body to the session's standing stream.
pub(super) fn beside_reply(shared: &Arc<Shared>, live: &Arc<Live>, record: CallRecord) -> Sender<Bytes> {
    let (out, messages) = outbound();
    let aside = aside(shared, live, record, Unheard::Refused);
    shared.work.spawn("aside", aside.run(messages, pending()));
    out
}

/// What says things to the session as the call of that record.
pub(super) fn aside(shared: &Shared, live: &Arc<Live>, record: CallRecord, unheard: Unheard) -> Aside {
    Aside {
        board: shared.board.clone(),
        live: Arc::clone(live),
        record,
        ttl: shared.settings.session.ttl,
        unheard,
    }
}

/// What a reply hears of a call that says everything beside it: nothing.
pub(super) fn silence() -> Receiver<Bytes> {
    tokio::sync::mpsc::channel(1).1
}
