//! A server of your own: two tools, one of which counts in the session. Run it on as many nodes as you like.

use std::error::Error;

use anynode::config::Sources;
use anynode::session::{Caller, Session};
use anynode::{App, Settings, telemetry};
use rmcp::{ErrorData, tool, tool_router};

struct MyServer;

#[tool_router(server_handler)]
impl MyServer {
    /// Counts the calls of this session, whichever nodes they reach.
    #[tool]
    async fn count(&self, session: Session) -> Result<String, ErrorData> {
        let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
        let count = session.update("count", add_one).await;
        let count = count.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(format!("{} calls so far", count.unwrap_or(0)))
    }

    /// Names the node that answers.
    #[tool]
    fn node(&self, caller: Caller) -> String {
        caller.node.to_string()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // PORT, REDIS_URL and all other settings, as `mcp-server` reads them.
    let settings = Settings::load(Sources::from_process())?;
    telemetry::init(&settings.log)?;
    App::builder()
        .settings(settings)
        .handler(|| MyServer)
        .run()
        .await?;
    Ok(())
}
