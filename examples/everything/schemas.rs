//! Schemas of arguments: written by hand where a type does not say it all (JSON Schema 2020-12), and with arguments that
//! also travel in a header, so that a gateway can route by them (SEP-2243).

use std::sync::Arc;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::JsonObject;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Everything;

#[derive(Deserialize, JsonSchema)]
struct Routed {
    /// Repeated in the header `Mcp-Param-Value`. The library holds the two against each other.
    #[schemars(extend("x-mcp-header" = "Value"))]
    value: String,
}

#[tool_router(router = schema_tools, vis = "pub(crate)")]
impl Everything {
    /// Takes what a schema of JSON Schema 2020-12 describes.
    #[tool(input_schema = contact())]
    fn json_schema_2020_12_tool(&self, arguments: JsonObject) -> String {
        format!("Got {}", Value::Object(arguments))
    }

    /// Takes an argument that clients of 2026-07-28 repeat in a header.
    #[tool]
    fn test_custom_header(&self, Parameters(Routed { value }): Parameters<Routed>) -> String {
        format!("Got {value}")
    }
}

/// A schema with definitions, references and conditions, which clients must get as it is.
fn contact() -> Arc<JsonObject> {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}
