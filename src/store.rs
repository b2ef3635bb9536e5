//! What a store must do, so that any node can serve any session.
//!
//! A [`Store`] is the sum of six traits: [`SessionStore`], [`StreamStore`], [`CallStore`], [`NodeStore`],
//! [`StateStore`] and [`RateStore`]. Two are built in: [`memory`] for one node, [`redis`] for many.
//!
//! # A store of your own
//!
//! Implement the six traits for one type; it is a [`Store`] by that. Each method says what happens when
//! something is there already (collision), when its life is over (expiry), and when it is not there
//! (absence). These rules hold for all of them:
//!
//! - What has expired is as absent as what never was, by the store's own clock and from one moment to the
//!   next.
//! - One call is one step on one session with its streams and calls, on one notebook or task, on the
//!   versions, on one lease, or on one bucket: no other call sees half of it. A message about these is sent in the same
//!   step, so that no node can crash between a write and the message about it.
//! - What lies beside may take steps of its own, before, after or at the same time, because a store may
//!   spread over several servers. These are the counts ([`create`](SessionStore::create),
//!   [`state_open`](StateStore::state_open), and the calls that renew or end what is counted), the names of a
//!   node's calls ([`call_begin`](CallStore::call_begin), [`call_end`](CallStore::call_end),
//!   [`claim`](CallStore::claim)), and the list of leases ([`lease_renew`](NodeStore::lease_renew),
//!   [`lease_end`](NodeStore::lease_end)). A crash in between leaves a count that is wrong until the next
//!   touch or until the counted would have ended, a name whose call is gone, or a list that is wrong until
//!   the lease is renewed or would have ended ([`Left`](NodeMessage::Left) goes with the list). It never
//!   leaves a call that is not named.
//! - What finds no room may be there for a moment, before it is taken away again.
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
mod event;
mod limits;
pub mod memory;
pub mod messages;
pub mod nodes;
pub(crate) mod rates;
#[cfg(feature = "redis")]
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
pub use self::rates::{Granted, RateStore};
pub use self::sessions::{Change, Changed, Created, Ended, Full, SessionRoom, SessionStore, Touched};
pub use self::streams::StreamStore;
pub use crate::session::state::StateStore;

/// Everything that a node needs of a store: a type that implements the six traits.
pub trait Store: SessionStore + StreamStore + CallStore + NodeStore + StateStore + RateStore {}

impl<T: SessionStore + StreamStore + CallStore + NodeStore + StateStore + RateStore> Store for T {}
