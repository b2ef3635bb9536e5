//! Resources: fixed ones, text and binary, and a template that makes as many as there are ids.

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::json;

use crate::content::PNG;

const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";
const WATCHED: &str = "test://watched-resource";
/// Where an id stands in the template's URIs.
const BEFORE_ID: &str = "test://template/";
const AFTER_ID: &str = "/data";
/// The template, as completion names it too.
pub(crate) const TEMPLATE: &str = "test://template/{id}/data";

/// The resources that have a URI of their own. What a template makes is not listed.
pub(crate) fn list() -> Vec<Resource> {
    vec![
        Resource::new(TEXT, "static-text")
            .with_description("A text that never changes")
            .with_mime_type("text/plain"),
        Resource::new(BINARY, "static-binary")
            .with_description("A picture of one pixel")
            .with_mime_type("image/png"),
        Resource::new(WATCHED, "watched-resource")
            .with_description("A text to subscribe to; `test_trigger_resource_update` announces updates")
            .with_mime_type("text/plain"),
    ]
}

/// The template.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template = ResourceTemplate::new(TEMPLATE, "template-data")
        .with_description("Some data for any id")
        .with_mime_type("application/json");
    vec![template]
}

/// Reads a resource.
pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let text = |text: &str| ResourceContents::text(text, uri).with_mime_type("text/plain");
    let contents = match uri {
        TEXT => text("This is the content of the static text resource."),
        WATCHED => text("This is the content of the watched resource."),
        BINARY => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
        _ => {
            let id = id_in(uri).ok_or_else(|| not_found(uri))?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            ResourceContents::text(data.to_string(), uri).with_mime_type("application/json")
        }
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

/// Whether there is such a resource to subscribe to.
pub(crate) fn check(uri: &str) -> Result<(), ErrorData> {
    read(uri).map(drop)
}

fn id_in(uri: &str) -> Option<&str> {
    let id = uri.strip_prefix(BEFORE_ID)?.strip_suffix(AFTER_ID)?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

/// Written as -32002; clients of 2026-07-28 get it as -32602, which is that revision's code for it.
fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })))
}
