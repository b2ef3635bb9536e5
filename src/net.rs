//! Sockets: a listener, the connections that it accepts, and what hyper leaves to do on each.

mod connection;
mod exchange;
pub(crate) mod listener;
mod raw_stream;
mod reusable_timer;
pub(crate) mod server;
mod socket;
mod write_timeout;
