//! What a tool can return: text, images, audio, resources, several at once, and errors that a model can read.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use rmcp::{tool, tool_router};
use serde_json::json;

use crate::Everything;

/// A picture of one red pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
/// A millisecond of silence.
const WAV: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";

#[tool_router(router = content_tools, vis = "pub(crate)")]
impl Everything {
    /// Returns a text.
    #[tool(annotations(read_only_hint = true))]
    fn test_simple_text(&self) -> String {
        "This is a simple text response for testing.".into()
    }

    /// Returns an image.
    #[tool(annotations(read_only_hint = true))]
    fn test_image_content(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::image(PNG, "image/png")])
    }

    /// Returns audio.
    #[tool(annotations(read_only_hint = true))]
    fn test_audio_content(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::audio(WAV, "audio/wav")])
    }

    /// Returns a resource as a part of the result, so that a client need not read it.
    #[tool(annotations(read_only_hint = true))]
    fn test_embedded_resource(&self) -> CallToolResult {
        let text = "This is an embedded resource content.";
        let resource = ResourceContents::text(text, "test://embedded-resource").with_mime_type("text/plain");
        CallToolResult::success(vec![ContentBlock::resource(resource)])
    }

    /// Returns a text, an image and a resource.
    #[tool(annotations(read_only_hint = true))]
    fn test_multiple_content_types(&self) -> CallToolResult {
        let text = json!({"test": "data", "value": 123}).to_string();
        let resource =
            ResourceContents::text(text, "test://mixed-content-resource").with_mime_type("application/json");
        CallToolResult::success(vec![
            ContentBlock::text("Multiple content types test:"),
            ContentBlock::image(PNG, "image/png"),
            ContentBlock::resource(resource),
        ])
    }

    /// Fails, with words that a model can act on. A JSON-RPC error would only reach the program that called.
    #[tool(annotations(read_only_hint = true))]
    fn test_error_handling(&self) -> CallToolResult {
        let words = "This tool intentionally returns an error for testing";
        CallToolResult::error(vec![ContentBlock::text(words)])
    }
}
