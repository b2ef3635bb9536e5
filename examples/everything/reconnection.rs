//! A call that outlives its connection (SEP-1699).

use std::time::Duration;

use rmcp::{tool, tool_router};
use tokio::time::sleep;

use crate::Everything;

/// How long the work takes that the client need not wait for on an open connection.
const WORK: Duration = Duration::from_millis(200);

#[tool_router(router = reconnection_tools, vis = "pub(crate)")]
impl Everything {
    /// Works for a while.
    #[tool(annotations(read_only_hint = true))]
    async fn test_reconnection(&self) -> String {
        sleep(WORK).await;
        "Reconnection test completed successfully.".into()
    }
}
