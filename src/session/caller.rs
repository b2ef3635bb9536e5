//! Who is asking: the caller of a request, and the session it has if any.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::handler::server::common::{AsRequestContext, FromContextPart};
use rmcp::model::{ClientCapabilities, Implementation};
use tokio::sync::Notify;

use super::announce::Announcer;
use super::ask::{AskError, Asking};
use super::error_data::missing_scope;
use super::id::{NodeId, SessionId};
use super::identity::Identity;
use super::notebooks::Notebooks;
use super::peer::Peer;
use super::reach::{SessionPeer, SessionPeers};
use super::record::Principal;
use super::request_info::RequestInfo;
use super::request_state::RequestState;
use super::state::{State, StateError};
use super::tasks::Tasks;
use crate::protocol::era::{Era, Revision};

mod ask;

/// The session of a request, for handlers: find it in the request's extensions.
///
/// It dereferences to the session's [`State`], so `session.get("key")` and its siblings read and write JSON
/// that every node sees.
///
/// ```
/// # use rmcp::{RoleServer, service::RequestContext};
/// # use anynode::session::{Session, StateError};
/// async fn count(context: &RequestContext<RoleServer>) -> Result<Option<u64>, StateError> {
///     let Some(session) = context.extensions.get::<Session>() else { return Ok(None) };
///     session.update("count", |count: Option<u64>| Some(count.unwrap_or(0) + 1)).await
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    id: SessionId,
    client: Arc<Implementation>,
    state: State,
    reach: Arc<dyn SessionPeers>,
}

impl Session {
    /// A handle to session `id` of `client`, whose state is `state`, and whose client `reach` reaches.
    #[must_use]
    pub(crate) fn new(
        id: SessionId,
        client: Arc<Implementation>,
        state: State,
        reach: Arc<dyn SessionPeers>,
    ) -> Self {
        Self {
            id,
            client,
            state,
            reach,
        }
    }

    /// The session's id. It is a credential: log [`SessionId::tag`] instead.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The client's own description, from `initialize`.
    #[must_use]
    pub fn client(&self) -> &Implementation {
        &self.client
    }

    /// Opens a peer that outlasts the request: for tasks that go on when their call has ended. It must be
    /// dropped when it is no longer used.
    #[must_use]
    pub fn peer(&self) -> SessionPeer {
        self.reach.peer()
    }

    /// The session's JSON state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }
}

impl Deref for Session {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

/// A tool or prompt written with rmcp's macros takes its `Session` as a parameter.
impl<C: AsRequestContext> FromContextPart<C> for Session {
    fn from_context_part(context: &mut C) -> Result<Self, ErrorData> {
        let found = context.as_request_context().extensions.get::<Self>();
        found.cloned().ok_or_else(|| {
            ErrorData::invalid_request(
                "this needs a session, which clients of revisions to 2025-11-25 open with `initialize`",
                None,
            )
        })
    }
}

/// The connection that carries a call's reply, as the call's handler sees it.
#[derive(Debug, Clone, Default)]
pub struct Connection(Option<Arc<Notify>>);

impl Connection {
    /// A connection that is closed when `close` is notified.
    #[must_use]
    pub const fn new(close: Arc<Notify>) -> Self {
        Self(Some(close))
    }

    /// Closes it while the call goes on, so that the client need not hold it open all the time: it comes back
    /// for the rest, on any node (2025-11-25, SEP-1699). Nothing happens for clients that were given no event
    /// id to come back with.
    pub fn close(&self) {
        if let Some(close) = &self.0 {
            // The notice is kept for a carrier that waits for it later.
            close.notify_one();
        }
    }
}

/// Who made a request, in either era: find it in the request's extensions.
#[derive(Clone)]
pub struct Caller {
    /// The revision the request is served in.
    pub revision: Revision,
    /// The node that serves it.
    pub node: NodeId,
    /// Whether this node had to restore the session from the store before it could serve this request.
    pub restored: bool,
    /// The principal that the request's credentials name.
    pub principal: Principal,
    /// What else they say: the user, the client, its scopes. A call that another node runs again has that of its first run.
    pub identity: Identity,
    /// The peer the request counts for.
    pub peer: Peer,
    /// The client's description: from `initialize`, or from the request's `_meta`.
    pub client: Option<Arc<Implementation>>,
    /// What the client can do: from `initialize`, or from the request's `_meta`.
    pub capabilities: Arc<ClientCapabilities>,
    /// The session, for clients that have one.
    pub session: Option<Session>,
    /// Notebooks, which any client can name by handle.
    pub notebooks: Notebooks,
    /// The connection that carries the reply.
    pub connection: Connection,
    /// The HTTP headers it came with. A call that another node runs again has those of its first run.
    pub request: RequestInfo,
    /// Tasks, which outlast the call that begins them (SEP-2663).
    pub tasks: Tasks,
    /// Announces changes to every client that wants to know, on any node.
    pub announcer: Announcer,
    /// Seals MRTR `requestState` (SEP-2322) with keys that all nodes share.
    pub(crate) request_state: RequestState,
    /// How the client can be asked, in a call that may ask.
    pub(crate) asking: Option<Arc<Asking>>,
}

impl Caller {
    /// The era of the caller's revision.
    #[must_use]
    pub const fn era(&self) -> Era {
        self.revision.era()
    }

    /// Checks that the caller has that scope, for what only some uses of a tool need. What every use of a tool
    /// needs is better named in `auth.tool_scopes`: clients that lack it are told before the tool runs, in
    /// the way that makes them ask their user for more.
    ///
    /// # Errors
    /// What the handler returns to a caller that lacks it; its data names the scope.
    pub fn require(&self, scope: &str) -> Result<(), ErrorData> {
        match self.identity.has_scope(scope) {
            true => Ok(()),
            false => Err(missing_scope(scope)),
        }
    }

    /// State that all callers share, on all nodes, whether or not they have a session; see
    /// [`Notebooks::shared`].
    #[must_use]
    pub fn shared_state(&self) -> State {
        self.notebooks.shared()
    }

    /// State of the caller's principal, on all nodes and in all its sessions; see [`Notebooks::own`].
    ///
    /// # Errors
    /// [`StateError::NoPrincipal`].
    pub fn principal_state(&self) -> Result<State, StateError> {
        self.notebooks.own()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("revision", &self.revision)
            .field("node", &self.node)
            .field("restored", &self.restored)
            .finish_non_exhaustive()
    }
}

/// A tool or prompt written with rmcp's macros takes its `Caller` as a parameter.
impl<C: AsRequestContext> FromContextPart<C> for Caller {
    fn from_context_part(context: &mut C) -> Result<Self, ErrorData> {
        let found = context.as_request_context().extensions.get::<Self>();
        found.cloned().ok_or_else(|| {
            ErrorData::internal_error(
                "the request names no caller: serve this handler with anynode",
                None,
            )
        })
    }
}
