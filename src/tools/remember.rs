//! `remember`: writes a note.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tools;
use super::any_json::any_argument;
use super::failure::Failure;
use super::notes::{NoteChange, Notes};
use crate::session::Caller;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RememberArguments {
    /// The note's name, 1 to 251 bytes.
    #[schemars(length(min = 1, max = 251))]
    key: String,
    /// What to remember: any JSON value. Numbers are kept as integers of 64 bits, or as doubles.
    #[schemars(schema_with = "any_argument")]
    value: Value,
    /// The handle of a shared notebook, from `open_notebook`. Without it, your session's own notebook.
    #[serde(default)]
    #[schemars(with = "String")]
    notebook: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Remembered {
    /// The note's name.
    key: String,
    /// The notebook that holds it: its handle, or `session`.
    notebook: String,
    /// Where the note can be read as a resource.
    uri: String,
}

#[tool_router(router = remember_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Remember a note",
        description = "Writes a note under a key, replacing what was there. Notes outlive this call: read them \
                       later with `recall`, from any node of the server.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn remember(
        &self,
        Parameters(RememberArguments { key, value, notebook }): Parameters<RememberArguments>,
        caller: Caller,
    ) -> Result<Json<Remembered>, Failure> {
        let notes = Notes::of(&caller, notebook.as_deref()).await?;
        notes.change(&key, NoteChange::Put(value)).await?;
        Ok(Json(Remembered {
            notebook: notes.notebook().to_owned(),
            uri: notes.uri(&key),
            key,
        }))
    }
}
