//! `list_notes`: names the notes of a notebook, with the beginning of each.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tools;
use super::failure::Failure;
use super::notes::Notes;
use crate::session::Caller;

/// How much of a note's JSON is shown in the list, in characters.
const PREVIEW_CHARS_MAX: usize = 80; // 80 x 256 notes = 20 k characters

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListNotesArguments {
    /// The handle of a shared notebook, from `open_notebook`. Without it, your session's own notebook.
    #[serde(default)]
    #[schemars(with = "String")]
    notebook: Option<String>,
    /// Only notes whose key begins so.
    #[serde(default)]
    #[schemars(with = "String")]
    prefix: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    /// The notebook: its handle, or `session`.
    notebook: String,
    /// How many notes are listed.
    #[schemars(with = "i64")]
    count: usize,
    /// The notes, sorted by key.
    notes: Vec<ListedNote>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedNote {
    /// The note's name.
    key: String,
    /// The beginning of its value, as JSON. `recall` reads all of it.
    preview: String,
}

#[tool_router(router = list_notes_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "List notes",
        description = "Lists the notes of a notebook, sorted by key, each with the beginning of its value. Use it \
                       to find out what is known before you ask again.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn list_notes(
        &self,
        Parameters(ListNotesArguments { notebook, prefix }): Parameters<ListNotesArguments>,
        caller: Caller,
    ) -> Result<Json<Listed>, Failure> {
        let notes = Notes::of(&caller, notebook.as_deref()).await?;
        let prefix = prefix.unwrap_or_default();
        let mut listed = notes.all().await?;
        listed.retain(|(key, _)| key.starts_with(&prefix));
        Ok(Json(Listed {
            notebook: notes.notebook().to_owned(),
            count: listed.len(),
            notes: listed.into_iter().map(ListedNote::from).collect(),
        }))
    }
}

impl From<(String, Value)> for ListedNote {
    fn from((key, value): (String, Value)) -> Self {
        let text = value.to_string();
        let preview = match text.char_indices().nth(PREVIEW_CHARS_MAX) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        };
        Self { key, preview }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_cut_between_characters() {
        let preview = |text: &str| ListedNote::from(("k".to_owned(), Value::from(text))).preview;
        assert_eq!(preview("short"), "\"short\"");
        let long = preview(&"ü".repeat(200));
        assert_eq!(long.chars().count(), PREVIEW_CHARS_MAX + 1);
        assert!(long.ends_with("ü…"));
    }
}
