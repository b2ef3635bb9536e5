//! A call that outlives its connection (SEP-1699): the server closes it, and the client comes back for the result, to any
//! node.

use std::time::Duration;

use anynode::session::Caller;
use rmcp::{tool, tool_router};
use tokio::time::sleep;

use crate::Everything;

/// How long the work takes that the client need not wait for on an open connection.
const WORK: Duration = Duration::from_millis(300);

#[tool_router(router = reconnection_tools, vis = "pub(crate)")]
impl Everything {
    /// Closes the connection, and has its result a moment later.
    #[tool(annotations(read_only_hint = true))]
    async fn test_reconnection(&self, caller: Caller) -> String {
        caller.connection.close();
        sleep(WORK).await;
        "Reconnection test completed successfully.".into()
    }
}
