//! anynode: an MCP server that any node can serve.
//!
//! Run N nodes behind any load balancer, with no affinity. Every MCP client of every protocol revision keeps working
//! while nodes come, go and crash, because what a session is lives in Redis, and any node restores it on demand.
//!
//! The map, from the outside in; arrows between modules point down this list only:
//!
//! - [`cli`]: the command line, one file for each subcommand.
//! - [`app`]: the composition root. [`App::builder`] takes settings and an rmcp `ServerHandler`, and runs a node.
//! - `http`: admits, parses and prints.
//! - `engine`: everything that a node does with a JSON-RPC message.
//! - `cluster`: this node among others: its lease, the ring, the registry's upkeep.
//! - [`store`]: the traits a store implements, and the two that are built in.
//! - [`session`]: what a handler holds, and what is kept of a session.
//! - `protocol`: the wire rules, pure.
//! - [`tools`]: the built-in server, a notebook.
//! - [`config`] and `telemetry` stand beside: settings, and logs and metrics.
//! - `causes`: an error with all that caused it, for logs.

pub mod app;
mod causes;
pub mod cli;
mod cluster;
pub mod config;
mod engine;
mod http;
mod protocol;
mod random;
pub mod session;
pub mod store;
mod supervisor;
mod telemetry;
pub mod tools;

pub use app::App;
pub use config::Settings;
pub use engine::handler::Handler;
pub use engine::no_peer::NoPeer;
pub use protocol::era::{Era, Revision};
