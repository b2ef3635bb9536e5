//! `forget`: removes a note.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tools;
use super::failure::Failure;
use super::notes::{NoteChange, Notes};
use crate::session::Caller;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForgetArguments {
    /// The note's name.
    #[schemars(length(min = 1, max = 251))]
    key: String,
    /// The handle of a shared notebook, from `open_notebook`. Without it, your session's own notebook.
    #[serde(default)]
    #[schemars(with = "String")]
    notebook: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Forgotten {
    /// The note's name.
    key: String,
    /// Whether there was such a note. There is none now.
    forgotten: bool,
}

#[tool_router(router = forget_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Forget a note",
        description = "Removes the note under a key, for good. `forgotten` says whether there was one.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn forget(
        &self,
        Parameters(ForgetArguments { key, notebook }): Parameters<ForgetArguments>,
        caller: Caller,
    ) -> Result<Json<Forgotten>, Failure> {
        let notes = Notes::of(&caller, notebook.as_deref()).await?;
        let before = notes.change(&key, NoteChange::Remove).await?;
        Ok(Json(Forgotten {
            key,
            forgotten: before.is_some(),
        }))
    }
}
