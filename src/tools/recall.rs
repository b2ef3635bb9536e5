//! `recall`: reads a note.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tools;
use super::any_json::any_result;
use super::failure::Failure;
use super::notes::Notes;
use crate::session::Caller;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecallArguments {
    /// The note's name.
    #[schemars(length(min = 1, max = 251))]
    key: String,
    /// The handle of a shared notebook, from `open_notebook`. Without it, your session's own notebook.
    #[serde(default)]
    #[schemars(with = "String")]
    notebook: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Recalled {
    /// The note's name.
    key: String,
    /// Whether there is such a note.
    found: bool,
    /// What was remembered; null when nothing was.
    #[schemars(schema_with = "any_result")]
    value: Value,
}

#[tool_router(router = recall_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Recall a note",
        description = "Reads the note under a key. `found` says whether there is one. `list_notes` names all keys.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn recall(
        &self,
        Parameters(RecallArguments { key, notebook }): Parameters<RecallArguments>,
        caller: Caller,
    ) -> Result<Json<Recalled>, Failure> {
        let notes = Notes::of(&caller, notebook.as_deref()).await?;
        let value = notes.get(&key).await?;
        Ok(Json(Recalled {
            key,
            found: value.is_some(),
            value: value.unwrap_or_default(),
        }))
    }
}
