//! A peer that belongs to a session and to none of its requests: for what a handler says outside a call.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rmcp::service::{Peer, RoleServer};

/// Opens peers of one session.
pub(crate) trait SessionPeers: fmt::Debug + Send + Sync + 'static {
    /// A peer whose messages go to the session's standing stream.
    fn peer(&self) -> SessionPeer;
}

/// Reaches a session's client outside any call: it dereferences to an rmcp [`Peer`], and works until its last
/// clone is dropped, or the session ends or this node stops. A clone of the inner `Peer` works no longer than
/// that.
///
/// What is sent goes to the session's standalone stream (`GET /mcp`), on the node where its client has it, or
/// to the stream of HTTP+SSE; it is kept while the client has none. Answers come back from any node.
#[derive(Clone)]
pub struct SessionPeer {
    peer: Peer<RoleServer>,
    _open: Arc<dyn Any + Send + Sync>,
}

impl SessionPeer {
    /// A peer that works as long as `open` is kept.
    #[must_use]
    pub fn new(peer: Peer<RoleServer>, open: Arc<dyn Any + Send + Sync>) -> Self {
        Self { peer, _open: open }
    }
}

impl Deref for SessionPeer {
    type Target = Peer<RoleServer>;

    fn deref(&self) -> &Peer<RoleServer> {
        &self.peer
    }
}

impl fmt::Debug for SessionPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPeer").finish_non_exhaustive()
    }
}
