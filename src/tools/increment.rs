//! `increment`: adds to a note that holds a whole number, atomically, though several nodes do so at once.

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
struct IncrementArguments {
    /// The note's name. A note that is not there counts as 0.
    #[schemars(length(min = 1, max = 251))]
    key: String,
    /// What to add; may be negative.
    #[serde(default = "one")]
    by: i64,
    /// The handle of a shared notebook, from `open_notebook`. Without it, your session's own notebook.
    #[serde(default)]
    #[schemars(with = "String")]
    notebook: Option<String>,
}

const fn one() -> i64 {
    1
}

#[derive(Debug, Serialize, JsonSchema)]
struct Incremented {
    /// The note's name.
    key: String,
    /// The number it holds now.
    value: i64,
}

#[tool_router(router = increment_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Increment a number",
        description = "Adds to the whole number under a key (0 when there is none) and returns the sum. Atomic: when \
                       several agents count at once, no step is lost.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn increment(
        &self,
        Parameters(IncrementArguments { key, by, notebook }): Parameters<IncrementArguments>,
        caller: Caller,
    ) -> Result<Json<Incremented>, Failure> {
        let notes = Notes::of(&caller, notebook.as_deref()).await?;
        let sum = notes.change(&key, NoteChange::Add(by)).await?;
        let value = sum.and_then(|sum| sum.as_i64()).unwrap_or(by);
        Ok(Json(Incremented { key, value }))
    }
}
