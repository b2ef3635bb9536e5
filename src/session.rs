//! What a handler holds: the session, the caller, their state. And what of it is kept.
//!
//! A handler finds two values in its request's extensions: a [`Caller`] always, and a [`Session`] when the
//! client has one (revisions to 2025-11-25). Both work the same on every node: what they read and write is in
//! the store.

pub mod announce;
pub(crate) mod ask;
pub mod caller;
pub(crate) mod clock;
mod error_data;
pub mod id;
pub mod identity;
pub mod notebooks;
pub(crate) mod once;
pub mod peer;
pub mod reach;
pub mod record;
pub mod request_info;
pub(crate) mod request_state;
pub mod secrets;
pub mod state;
pub mod tasks;

pub use announce::Announcer;
pub use ask::AskError;
pub(crate) use ask::{Asking, not_asked, timed_out};
pub use caller::{Caller, Connection, Session};
pub(crate) use clock::Clock;
pub use id::{Life, NodeId, SessionId};
pub use identity::Identity;
pub(crate) use identity::StoredIdentity;
pub use notebooks::Notebooks;
pub use peer::Peer;
pub use reach::SessionPeer;
pub(crate) use reach::SessionPeers;
pub use record::{Introduction, LogLevel, Principal, SessionRecord, TransportKind};
pub use request_info::RequestInfo;
pub(crate) use request_state::RequestState;
pub use state::{State, StateError};
pub use tasks::Tasks;
