//! Sockets: a listener, the connections that it accepts, and what hyper leaves to do on each.

pub(crate) mod admission;
mod connection;
mod exchange;
pub(crate) mod listener;
mod proxy_header;
mod raw_stream;
mod reusable_timer;
mod seats;
pub(crate) mod server;
mod socket;
#[cfg_attr(not(feature = "tls"), path = "net/no_tls.rs")]
pub(crate) mod tls;
pub(crate) mod tls_error;
mod write_timeout;
