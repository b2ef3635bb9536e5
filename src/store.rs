//! What a store must do, so that any node can serve any session.
//!
//! A [`Store`] is the sum of five traits: [`SessionStore`], [`StreamStore`], [`CallStore`], [`NodeStore`] and
//! [`StateStore`]. Two are built in: [`memory`] for one node, [`redis`] for many.
//!
//! # A store of your own
//!
//! Implement the five traits for one type; it is a [`Store`] by that. Each method says what happens when
//! something is there already (collision), when its life is over (expiry), and when it is not there
//! (absence). These rules hold for all of them:
//!
//! - What has expired is as absent as what never was, by the store's own clock and from one moment to the
//!   next.
//! - One call is one step: no other call sees half of it. A message that belongs to it is sent in the same
//!   step, so that no node can crash between a write and the message about it.
//! - Each call may come twice, because the answer to the first was lost. Nothing late brings back what has
//!   ended.
//! - A [`StoreError`] says that the step may or may not have been done.
//!
//! Then run the suite in `contract` (feature `store-contract`), which both built-in stores pass.

pub mod calls;
pub mod changes;
#[cfg(feature = "store-contract")]
pub mod contract;
mod error;
mod limits;
pub mod memory;
pub mod messages;
pub mod nodes;
pub mod redis;
pub mod sessions;
pub mod streams;

pub use self::calls::CallStore;
pub use self::error::{StoreError, WhyRefused};
pub use self::limits::Limits;
pub use self::messages::{NodeMessage, SessionNews};
pub use self::nodes::{
    KnownNode, Lease, NodeStore, Received, Recipients, Renewed, StoreProfile, StoreReport,
};
pub use self::sessions::{Change, Changed, Created, Ended, Full, SessionRoom, SessionStore, Touched};
pub use self::streams::StreamStore;
pub use crate::session::state::StateStore;

/// Everything that a node needs of a store: a type that implements the five traits.
pub trait Store: SessionStore + StreamStore + CallStore + NodeStore + StateStore {}

impl<T: SessionStore + StreamStore + CallStore + NodeStore + StateStore> Store for T {}
