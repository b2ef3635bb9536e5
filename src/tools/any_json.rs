//! The schema of a member that may be any JSON value.
//!
//! A schema that says nothing would be the obvious one, and some clients refuse the whole server for it: the
//! dialects that models are given want one `type` in each place, and `items` for each array. So the kinds are
//! named one by one.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The kinds that can be said everywhere.
fn scalars_and_objects() -> [Value; 4] {
    [
        json!({ "type": "string" }),
        json!({ "type": "number" }),
        json!({ "type": "boolean" }),
        json!({ "type": "object", "additionalProperties": true }),
    ]
}

fn any_of<const N: usize>(more: [Value; N]) -> Vec<Value> {
    scalars_and_objects().into_iter().chain(more).collect()
}

/// That of an argument. It tells of no null and of no array in an array, which those dialects cannot say; both
/// are taken.
pub(super) fn any_argument(_generator: &mut SchemaGenerator) -> Schema {
    let array = json!({ "type": "array", "items": { "anyOf": scalars_and_objects() } });
    json_schema!({ "anyOf": any_of([array]) })
}

/// That of a result. Clients hold results against it, so that it allows all there may be.
pub(super) fn any_result(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": any_of([json!({ "type": "array" }), json!({ "type": "null" })]) })
}
