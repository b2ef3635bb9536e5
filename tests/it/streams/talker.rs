//! A handler that talks as much and as fast as it is told to.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients still use it"
)]

use std::time::Duration;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Says what it is told to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Talker;

/// How much to say.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Talk {
    /// How many messages.
    pub(crate) count: u64,
    /// How long to pause after each, in microseconds.
    pub(crate) pause_us: u64,
    /// How large each is.
    pub(crate) bytes: usize,
}

impl Talk {
    /// As a tool's call.
    pub(crate) fn call(self) -> Value {
        json!({"name": "talk", "arguments": self})
    }
}

#[tool_router]
impl Talker {
    #[tool(description = "Sends numbered messages")]
    async fn talk(
        &self,
        Parameters(talk): Parameters<Talk>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        let filling = "x".repeat(talk.bytes);
        for number in 1..=talk.count {
            let data = json!({"number": number, "filling": filling});
            let message = LoggingMessageNotificationParam::new(LoggingLevel::Error, data);
            let told = context.peer.notify_logging_message(message).await;
            told.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            if talk.pause_us > 0 {
                tokio::time::sleep(Duration::from_micros(talk.pause_us)).await;
            }
        }
        Ok("said".into())
    }
}

#[tool_handler]
impl ServerHandler for Talker {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_logging()
                .build(),
        )
    }
}
