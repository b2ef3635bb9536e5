//! `open_notebook`: makes a notebook that is named by a handle, to keep or to pass on.

use rmcp::handler::server::wrapper::Json;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Serialize;

use super::Tools;
use super::failure::Failure;
use crate::session::Caller;

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Opened {
    /// The notebook's handle: pass it as `notebook`. Anybody who has it can read and change the notes.
    notebook: String,
    /// The notebook is deleted when nobody has used it for this long. Each use starts the time again.
    #[schemars(with = "i64")]
    expires_in_seconds: u64,
}

#[tool_router(router = open_notebook_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Open a notebook",
        description = "Makes an empty notebook and returns its handle. Pass the handle as `notebook` to the other \
                       tools, and give it to another agent to share the notes with it. Keep the handle: it cannot \
                       be looked up later.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn open_notebook(&self, caller: Caller) -> Result<Json<Opened>, Failure> {
        let (notebook, _) = caller.notebooks.open().await?;
        Ok(Json(Opened {
            notebook,
            expires_in_seconds: caller.notebooks.ttl().as_secs(),
        }))
    }
}
