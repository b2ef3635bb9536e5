//! anynode: an MCP server that any node can serve.
//!
//! Run N nodes behind any load balancer, with no affinity. Every MCP client of every protocol revision keeps
//! working while nodes come, go and crash, because session state and the event log are in Redis, and any node
//! restores them on demand.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use anynode::session::Caller;
//! use rmcp::{ErrorData, tool, tool_router};
//!
//! struct MyServer;
//!
//! #[tool_router(server_handler)]
//! impl MyServer {
//!     /// Counts the calls of all clients, over all nodes.
//!     #[tool]
//!     async fn count(&self, caller: Caller) -> Result<String, ErrorData> {
//!         let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
//!         let count = caller.shared_state().update("count", add_one).await?;
//!         Ok(format!("{} calls so far", count.unwrap_or(0)))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     // The command line, the settings and the logs of `mcp-server`.
//!     anynode::cli::main(anynode::program!(), || MyServer)
//! }
//! ```
//!
//! # Start here
//!
//! - **A server of your own:** write an rmcp `ServerHandler` and give it to [`cli::main`], as above. Its
//!   requests carry a [`session::Caller`], and a [`session::Session`] when the client has one.
//! - **In a program of your own:** [`App::builder`] takes [`Settings`] and a handler, and gives an
//!   `axum::Router` ([`build`](app::Builder::build)), or a node that listens ([`spawn`](app::Builder::spawn)).
//! - **Asking people and models:** [`ask`](session::Caller::ask) and its siblings, in one line for every client.
//! - **Authentication of your own:** [`Authenticate`].
//! - **Faster quick calls:** [`NoPeer`] names the tools that say nothing before their result.
//! - **Another database:** implement the six traits of [`store`].
//! - **Tests:** `testing` (feature `testing`) runs nodes in the test's process.
//!
//! Each has a page in `docs/guide` of the repository.
//!
//! # The map
//!
//! From the outside in. A module sees only those below it:
//!
//! - [`cli`]: the command line, one file for each subcommand.
//! - [`app`]: puts a node together and runs it.
//! - `net`: sockets: the listener and its connections.
//! - `http`: admits, parses and prints.
//! - `engine`: everything that a node does with a JSON-RPC message.
//! - `cluster`: this node among others: its lease, its copies of sessions, its messages to other nodes.
//! - [`store`]: the traits a store implements, and the two that are built in.
//! - [`session`]: what a handler holds, and what is kept of a session.
//! - `protocol`: the wire rules, pure.
//!
//! [`tools`] (the built-in server, a notebook), [`config`] (settings), `telemetry` (logs and metrics) and
//! `audit` (who did what, and alarms) stand beside.

#![cfg_attr(
    not(all(feature = "cli", feature = "prometheus", feature = "redis")),
    allow(dead_code, unused_imports, reason = "some parts are for those features alone")
)]

pub mod app;
mod audit;
mod auth;
mod causes;
#[cfg(feature = "cli")]
pub mod cli;
mod cluster;
pub mod config;
mod engine;
mod http;
mod nearest;
mod net;
mod protocol;
mod random;
pub mod session;
pub mod store;
mod supervisor;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tools;
#[cfg(any(feature = "oauth", feature = "redis", feature = "tls"))]
mod trust;

pub use app::App;
pub use config::Settings;
pub use engine::handler::Handler;
pub use engine::no_peer::NoPeer;
pub use http::{Authenticate, Challenge};
pub use protocol::era::{Era, Revision};
/// The rmcp that handlers are written with, and the schemars that describes their arguments. A handler must be
/// written with the same: another major version has other types of the same names, whose errors speak of traits
/// that are not implemented. This version of anynode is tested with rmcp 3.11.0 and schemars 1.2.3.
///
/// With `use anynode::{rmcp, schemars};` their macros need no line in `Cargo.toml`, apart from
/// `#[tool_router(server_handler)]`, which looks for a crate named rmcp: write `#[tool_router]` and
/// `#[tool_handler]` instead.
#[doc(no_inline)]
pub use {rmcp, schemars};

/// The pages of the guide, whose code is compiled and run with the documentation tests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/first-server.md")]
    struct FirstServerPage;
    #[doc = include_str!("../docs/guide/both-eras.md")]
    struct BothErasPage;
    #[doc = include_str!("../docs/guide/state.md")]
    struct StatePage;
    #[doc = include_str!("../docs/guide/asking.md")]
    struct AskingPage;
    #[doc = include_str!("../docs/guide/long-calls.md")]
    struct LongCallsPage;
    #[doc = include_str!("../docs/guide/authentication.md")]
    struct AuthenticationPage;
    #[doc = include_str!("../docs/guide/embedding.md")]
    struct EmbeddingPage;
    #[doc = include_str!("../docs/guide/testing.md")]
    struct TestingPage;
    #[doc = include_str!("../docs/guide/your-store.md")]
    struct YourStorePage;
}
