//! What a program asks of its node, whether the node listens by itself or the program serves it.

use std::sync::Arc;

use axum::Router;
use tracing::Span;

use super::AppError;
use crate::audit::{Actor, EndedBy};
use crate::cluster::SessionError;
use crate::engine::Engine;
use crate::http::Service;
use crate::session::{Announcer, NodeId, SessionId, SessionRecord};
use crate::store::StoreError;
use crate::supervisor::KillOnDrop;

/// A node: its sessions, its health, its announcements. A [`Running`](super::Running) node has one, and so has
/// an [`EmbeddedNode`](super::EmbeddedNode).
#[derive(Debug)]
pub struct NodeHandle {
    pub(super) engine: Arc<Engine>,
    pub(super) service: Service,
    /// Adds the node's name to log lines.
    pub(super) span: Span,
    _owned: [KillOnDrop; 2],
}

impl NodeHandle {
    /// That of an engine at work. Call it in the node's span.
    pub(super) fn new(engine: Arc<Engine>, service: Service, owned: [KillOnDrop; 2]) -> Self {
        Self {
            engine,
            service,
            span: Span::current(),
            _owned: owned,
        }
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.engine.node
    }

    /// Which store it uses.
    #[must_use]
    pub fn store_kind(&self) -> &'static str {
        self.engine.store.profile().kind
    }

    /// How many sessions this node keeps restored.
    #[must_use]
    pub fn active_sessions(&self) -> usize {
        self.engine.sessions.kept()
    }

    /// Sessions of all nodes, at most `limit`, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError> {
        self.engine.store.list(limit).await
    }

    /// Ends a session on all nodes, for good: its client has to initialize again. Says whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(&self, id: &SessionId) -> Result<bool, StoreError> {
        match self.engine.sessions.end(id).await {
            Ok(()) => {
                let audit = &self.engine.audit;
                audit.session_ended(id, EndedBy::Operator, &Actor::default());
                Ok(true)
            }
            Err(SessionError::Store(error)) => Err(error),
            Err(
                SessionError::NotFound
                | SessionError::Foreign
                | SessionError::Full
                | SessionError::TooMany(_),
            ) => Ok(false),
        }
    }

    /// Announces changes to every client that wants to know, on any node.
    #[must_use]
    pub fn announcer(&self) -> Announcer {
        self.engine.announcer()
    }

    /// Serves `/health`, `/livez`, `/readyz` and `/metrics`, wherever the program wants them.
    pub fn probes(&self) -> Router {
        self.service.probes()
    }

    /// Completes when the node has ended by itself: another process has taken its name, or a task has ended
    /// that it cannot do without.
    pub fn broken(&self) -> impl Future<Output = AppError> + Send + use<> {
        let engine = Arc::clone(&self.engine);
        async move {
            engine.supervisor.stopping().cancelled().await;
            let displaced = engine.membership.displaced();
            displaced.map_or(AppError::Broken, AppError::Name)
        }
    }
}
