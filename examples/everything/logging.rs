//! Log messages: a handler sends them all, and the library lets those through that the client asked for, by the session's
//! level (`logging/setLevel`) or by the request's own (2026-07-28).

use std::time::Duration;

use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use serde_json::json;
use tokio::time::sleep;

use crate::Everything;

/// How long the work between two messages takes.
const WORK: Duration = Duration::from_millis(50);

#[tool_router(router = logging_tools, vis = "pub(crate)")]
impl Everything {
    /// Logs three times at level `info` while it works.
    #[tool(annotations(read_only_hint = true))]
    async fn test_tool_with_logging(&self, context: RequestContext<RoleServer>) -> String {
        say(&context, LoggingLevel::Info, "Tool execution started").await;
        sleep(WORK).await;
        say(&context, LoggingLevel::Info, "Tool processing data").await;
        sleep(WORK).await;
        say(&context, LoggingLevel::Info, "Tool execution completed").await;
        "Logged three messages.".into()
    }

    /// Logs once at each of several levels; a client that named no level hears of none.
    #[tool(annotations(read_only_hint = true))]
    async fn test_logging_tool(&self, context: RequestContext<RoleServer>) -> String {
        for level in [LoggingLevel::Debug, LoggingLevel::Info, LoggingLevel::Error] {
            say(&context, level, "A message of this level").await;
        }
        "Logged at three levels.".into()
    }
}

async fn say(context: &RequestContext<RoleServer>, level: LoggingLevel, words: &str) {
    let message = LoggingMessageNotificationParam::new(level, json!(words)).with_logger("everything");
    if let Err(error) = context.peer.notify_logging_message(message).await {
        tracing::debug!(%error, "a log message was not sent");
    }
}
