//! anynode: an MCP server that any node can serve.
//!
//! Run N nodes behind any load balancer, with no affinity. Every MCP client of every protocol revision keeps working
//! while nodes come, go and crash, because what a session is lives in Redis, and any node restores it on demand.
//!
//! The map, from the outside in; arrows between modules point down this list only:
//!
//! - [`cli`]: the command line, one file for each subcommand.
//! - [`app`]: the composition root. [`App::builder`] takes settings and an rmcp `ServerHandler`, and runs a node.
//! - [`http`]: routes, guards and the pipeline that both eras share.
//! - [`transport`]: the live half of a request: its peer, and its reply.
//! - [`cluster`]: this node among others: its lease, the ring, the registry's upkeep.
//! - [`store`]: the traits a store implements, and the two that are built in.
//! - [`session`]: what a handler holds, and what is kept of a session.
//! - [`protocol`]: the wire rules, pure.
//! - [`tools`]: the built-in server, a notebook.
//! - [`config`] and [`telemetry`] stand beside: settings, and logs and metrics.
//! - [`causes`]: an error with all that caused it, for logs.

pub mod app;
pub mod causes;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod http;
pub mod protocol;
pub mod session;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod tools;
pub mod transport;

pub use app::App;
pub use config::Settings;
pub use transport::silent::Silent;
