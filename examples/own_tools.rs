//! A server of your own: two tools, one of which counts in the session. Run it on as many nodes as you like.

use std::process::ExitCode;

use anynode::session::{Caller, Session};
use rmcp::{ErrorData, tool, tool_router};

struct MyServer;

#[tool_router(server_handler)]
impl MyServer {
    /// Counts the calls of this session, over all nodes.
    #[tool]
    async fn count(&self, session: Session) -> Result<String, ErrorData> {
        let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
        let count = session.update("count", add_one).await?;
        Ok(format!("{} calls so far", count.unwrap_or(0)))
    }

    /// Names the node that answers.
    #[tool]
    fn node(&self, caller: Caller) -> String {
        caller.node.to_string()
    }
}

fn main() -> ExitCode {
    // The command line, the settings and the logs of `mcp-server`.
    anynode::cli::main(|| MyServer)
}
