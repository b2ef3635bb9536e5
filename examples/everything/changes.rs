//! Announcing changes: once, on any node. Every client that wants to know is told, wherever it is
//! connected, and one that is not connected when it comes back.

use anynode::session::Caller;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Everything;

#[derive(Deserialize, JsonSchema)]
struct Updated {
    /// The resource that shall count as updated.
    uri: String,
}

#[tool_router(router = change_tools, vis = "pub(crate)")]
impl Everything {
    /// Announces that the list of tools has changed.
    #[tool]
    async fn test_trigger_tool_change(&self, caller: Caller) -> String {
        caller.announcer.tools_changed().await;
        "Announced that tools have changed.".into()
    }

    /// Announces that the list of prompts has changed.
    #[tool]
    async fn test_trigger_prompt_change(&self, caller: Caller) -> String {
        caller.announcer.prompts_changed().await;
        "Announced that prompts have changed.".into()
    }

    /// Announces that a resource was updated, to those who subscribed to it.
    #[tool]
    async fn test_trigger_resource_update(
        &self,
        Parameters(Updated { uri }): Parameters<Updated>,
        caller: Caller,
    ) -> String {
        caller.announcer.resource_updated(&uri).await;
        format!("Announced that {uri} was updated.")
    }
}
