//! Results whose text is plain words, beside the same facts as structured content.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;

use super::failure::Failure;

/// A result that says `text` to people and models, and `facts` to programs.
pub(super) fn spoken<T: Serialize>(text: impl Into<String>, facts: &T) -> Result<CallToolResult, Failure> {
    let facts = serde_json::to_value(facts).map_err(|error| {
        tracing::error!(%error, "a tool's result cannot be written as JSON");
        ErrorData::internal_error("the result cannot be written as JSON", None)
    })?;
    // Not `CallToolResult::structured`, which writes the facts as text, too: here the text is another.
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(facts);
    Ok(result)
}
