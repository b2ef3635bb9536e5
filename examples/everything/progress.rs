//! Progress: a call that says how far it is, to clients that gave it a token for that.

use std::time::Duration;

use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use tokio::time::sleep;

use crate::Everything;

/// How far the call is at each step, of 100.
const STEPS: [f64; 3] = [0.0, 50.0, 100.0];
/// How long each step takes.
const STEP: Duration = Duration::from_millis(50);

#[tool_router(router = progress_tools, vis = "pub(crate)")]
impl Everything {
    /// Reports progress, then returns.
    #[tool(annotations(read_only_hint = true))]
    async fn test_tool_with_progress(&self, context: RequestContext<RoleServer>) -> String {
        let token = context.meta.get_progress_token();
        for step in STEPS {
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), step)
                    .with_total(100.0)
                    .with_message(format!("{step} of 100"));
                // A client that cannot be told now comes back for the result, on this node or another.
                if let Err(error) = context.peer.notify_progress(progress).await {
                    tracing::debug!(%error, "progress was not told");
                }
            }
            sleep(STEP).await;
        }
        "All steps are done.".into()
    }
}
