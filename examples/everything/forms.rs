//! Forms: fields with defaults (SEP-1034), and every way to offer a choice (SEP-1330). What is written here is what the
//! client gets, member by member.

use anynode::session::Caller;
use rmcp::{ErrorData, tool, tool_router};
use serde_json::json;

use crate::Everything;
use crate::ask::form;
use crate::elicitation::told;

/// What the result says before what the person did.
const COMPLETED: &str = "Elicitation completed";

#[tool_router(router = form_tools, vis = "pub(crate)")]
impl Everything {
    /// Shows a form whose fields are filled in already.
    #[tool(annotations(read_only_hint = true))]
    async fn test_elicitation_sep1034_defaults(&self, caller: Caller) -> Result<String, ErrorData> {
        let form = form(
            "Please check what is filled in",
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "A name", "default": "John Doe"},
                    "age": {"type": "integer", "description": "A whole number", "default": 30},
                    "score": {"type": "number", "description": "Any number", "default": 95.5},
                    "status": {
                        "type": "string",
                        "description": "A choice",
                        "enum": ["active", "inactive", "pending"],
                        "default": "active",
                    },
                    "verified": {"type": "boolean", "description": "Yes or no", "default": true},
                },
            }),
        )?;
        Ok(told(COMPLETED, caller.elicit(form).await?))
    }

    /// Shows a form with one and with several of a few values to choose, with and without titles.
    #[tool(annotations(read_only_hint = true))]
    async fn test_elicitation_sep1330_enums(&self, caller: Caller) -> Result<String, ErrorData> {
        let form = form(
            "Please choose",
            json!({
                "type": "object",
                "properties": {
                    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
                    "titledSingle": {"type": "string", "oneOf": [
                        {"const": "value1", "title": "First Option"},
                        {"const": "value2", "title": "Second Option"},
                        {"const": "value3", "title": "Third Option"},
                    ]},
                    // As revisions before 2025-11-25 wrote it.
                    "legacyEnum": {
                        "type": "string",
                        "enum": ["opt1", "opt2", "opt3"],
                        "enumNames": ["Option One", "Option Two", "Option Three"],
                    },
                    "untitledMulti": {
                        "type": "array",
                        "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
                    },
                    "titledMulti": {"type": "array", "items": {"anyOf": [
                        {"const": "value1", "title": "First Choice"},
                        {"const": "value2", "title": "Second Choice"},
                        {"const": "value3", "title": "Third Choice"},
                    ]}},
                },
            }),
        )?;
        Ok(told(COMPLETED, caller.elicit(form).await?))
    }
}
