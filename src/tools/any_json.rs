//! The schema of a member that may be any JSON value.
//!
//! A schema that says nothing would be the obvious one, and some clients refuse the whole server for it: the
//! dialects that models are given want one `type` in each place, and `items` for each array. So the kinds are
//! named one by one.

use schemars::{Schema, SchemaGenerator, json_schema};

/// That of an argument. It tells of no null and of no array in an array, which those dialects cannot say; both
/// are taken.
pub(super) fn any_argument(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string" },
            { "type": "number" },
            { "type": "boolean" },
            { "type": "object", "additionalProperties": true },
            {
                "type": "array",
                "items": {
                    "anyOf": [
                        { "type": "string" },
                        { "type": "number" },
                        { "type": "boolean" },
                        { "type": "object", "additionalProperties": true },
                    ],
                },
            },
        ],
    })
}

/// That of a result. Clients hold results against it, so that it allows all there may be.
pub(super) fn any_result(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string" },
            { "type": "number" },
            { "type": "boolean" },
            { "type": "object", "additionalProperties": true },
            { "type": "array" },
            { "type": "null" },
        ],
    })
}
