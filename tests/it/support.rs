//! What the tests run against: real processes on free ports of 127.0.0.1, and a client that shows every byte.

pub(crate) mod authorization_server;
pub(crate) mod balancer;
pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod http;
pub(crate) mod inside;
pub(crate) mod issuer;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod redis;
mod selftest;
pub(crate) mod sse;
pub(crate) mod tls;
pub(crate) mod ttl;
