//! A message that HTTP has admitted, and what is known of how it came.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use super::shares::PeerUse;
use crate::audit::CameFrom;
use crate::config::ReplyForm;
use crate::session::{Identity, Peer, Principal, RequestInfo};

/// Who sends a request, and what its call keeps of how it came. Another node that runs the call again gets all of it.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    /// Who that is, as the request's credentials say.
    pub identity: Identity,
    /// The peer that the request counts for.
    pub peer: Arc<PeerUse>,
    /// What its handler may know of the HTTP request.
    pub info: RequestInfo,
}

impl Requester {
    /// The principal of a session, for what belongs to no request.
    pub(crate) fn of_no_request(principal: &Principal, peer: Arc<PeerUse>) -> Self {
        Self {
            identity: Identity::of(principal.clone()),
            peer,
            info: RequestInfo::default(),
        }
    }
}

/// When a stream ends that a request with these credentials opened: so long after they have expired.
pub(crate) fn stream_until(identity: &Identity, grace: Duration) -> Option<Instant> {
    let expires = identity.expires_at()?;
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now().checked_add(left.checked_add(grace)?)
}

/// What is known of a message beside itself.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// Who sends it.
    pub requester: Requester,
    /// The address it came from, if that is limited.
    pub address: Option<Peer>,
    /// Where it came from, if the audit log wants to know that.
    pub from: Option<Arc<CameFrom>>,
    /// When it came.
    pub began: Instant,
    /// What form its reply has.
    pub form: ReplyForm,
    /// Its JSON text, if that is short enough to be kept for another node; else empty.
    pub body: Bytes,
}
