//! A server of your own: two tools, for clients of every revision. Run it on as many nodes as you like.

use std::process::ExitCode;

use anynode::session::Caller;
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

struct Counter;

/// What the person is asked.
#[derive(Deserialize, JsonSchema)]
struct Confirmation {
    /// The count is lost.
    sure: bool,
}

#[tool_router]
impl Counter {
    /// Counts the calls of all clients, over all nodes.
    #[tool]
    async fn count(&self, caller: Caller) -> Result<String, ErrorData> {
        let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
        let count = caller.shared_state().update("count", add_one).await?;
        Ok(format!("{} calls so far", count.unwrap_or(0)))
    }

    /// Begins again at 0, if the person at the client agrees.
    #[tool]
    async fn reset(&self, caller: Caller) -> Result<String, ErrorData> {
        let Confirmation { sure } = caller.ask("Begin again at 0?").await?;
        if !sure {
            return Ok("The count goes on.".to_owned());
        }
        caller.shared_state().remove("count").await?;
        Ok("The next call is the first.".to_owned())
    }
}

#[tool_handler(name = "counter", version = "1.0.0")]
impl ServerHandler for Counter {}

fn main() -> ExitCode {
    // The command line, the settings and the logs of `mcp-server`.
    anynode::cli::main(anynode::program!(), || Counter)
}
