//! A message that HTTP has admitted, and what is known of how it came.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::shares::PeerUse;
use crate::config::ReplyForm;
use crate::session::{Principal, RequestInfo};

/// What is known of a message beside itself.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// The principal that its credentials name.
    pub principal: Principal,
    /// The peer it counts for.
    pub peer: Arc<PeerUse>,
    /// When it came.
    pub began: Instant,
    /// What its handler may know of the HTTP request.
    pub info: RequestInfo,
    /// What form its reply has.
    pub form: ReplyForm,
    /// Its JSON text, if that is short enough to be kept for another node; else empty.
    pub body: Bytes,
}
