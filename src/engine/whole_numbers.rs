//! Whole numbers that a client has written with a fraction of zero, as `30.0`: clients whose numbers are all
//! doubles do. `integer` is any number without a fraction (JSON Schema 2020-12, Validation, section 6.1.1),
//! but handlers' types take none with one.

use std::ptr;

use rmcp::model::JsonObject;
use serde_json::{Map, Value};

/// How many references and alternatives are followed to find what a schema says of one value.
const VARIANTS_MAX: usize = 64;
/// The largest number up to which a double names every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53

/// Writes such numbers as integers, where the schema of a tool's arguments takes an integer and no other number.
pub(super) fn write_as_integers(arguments: &mut JsonObject, schema: &JsonObject) {
    let schemas = variants(&[schema], schema);
    for (name, value) in arguments.iter_mut() {
        write_value(value, &variants(&of_member(&schemas, name), schema), schema);
    }
}

/// Whether there is a number with a fraction, also one of zero: most arguments have none.
pub(super) fn has_fraction<'a>(mut values: impl Iterator<Item = &'a Value>) -> bool {
    values.any(|value| match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => has_fraction(items.iter()),
        Value::Object(members) => has_fraction(members.values()),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    })
}

type Schema = Map<String, Value>;

/// `schemas` are all [`variants`] of what is said of the value.
fn write_value(value: &mut Value, schemas: &[&Schema], root: &Schema) {
    match value {
        _ if schemas.is_empty() => {}
        Value::Number(number) => {
            if takes(schemas, "integer")
                && !takes(schemas, "number")
                && let Some(whole) = number.as_f64().and_then(whole)
            {
                *number = whole.into();
            }
        }
        Value::Array(items) => {
            // A list may be long: what is said of its later items is looked up once.
            let listed = schemas
                .iter()
                .filter_map(|schema| schema.get("prefixItems")?.as_array());
            let listed = listed.map(Vec::len).max().unwrap_or(0);
            let later = variants(&of_item(schemas, listed), root);
            for (index, item) in items.iter_mut().enumerate() {
                match index < listed {
                    true => write_value(item, &variants(&of_item(schemas, index), root), root),
                    false => write_value(item, &later, root),
                }
            }
        }
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                write_value(member, &variants(&of_member(schemas, name), root), root);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it has no fraction, and is small enough"
)]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}

/// These schemas, with what they refer to and their alternatives.
fn variants<'a>(schemas: &[&'a Schema], root: &'a Schema) -> Vec<&'a Schema> {
    let mut all: Vec<&Schema> = schemas.to_vec();
    let mut next = 0;
    while let Some(schema) = all.get(next).copied() {
        next += 1;
        let named = schema.get("$ref").and_then(Value::as_str);
        let several = ["allOf", "anyOf", "oneOf"]
            .iter()
            .filter_map(|name| schema.get(*name)?.as_array());
        let each = several.flatten().filter_map(Value::as_object);
        for found in named
            .and_then(|path| referred(path, root))
            .into_iter()
            .chain(each)
        {
            if all.len() < VARIANTS_MAX && !all.iter().any(|known| ptr::eq(*known, found)) {
                all.push(found);
            }
        }
    }
    all
}

/// What a reference within the same document names.
fn referred<'a>(path: &str, root: &'a Schema) -> Option<&'a Schema> {
    let path = path.strip_prefix("#/")?;
    let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    root.get(first)?.pointer(rest)?.as_object()
}

fn takes(schemas: &[&Schema], wanted: &str) -> bool {
    schemas.iter().any(|schema| match schema.get("type") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one == wanted),
        _ => false,
    })
}

/// What the schemas say of an object's member.
fn of_member<'a>(schemas: &[&'a Schema], name: &str) -> Vec<&'a Schema> {
    let of = schemas.iter().filter_map(|schema| {
        let listed = schema
            .get("properties")
            .and_then(|properties| properties.get(name));
        listed.or_else(|| schema.get("additionalProperties"))?.as_object()
    });
    of.collect()
}

/// What the schemas say of an array's item.
fn of_item<'a>(schemas: &[&'a Schema], index: usize) -> Vec<&'a Schema> {
    let of = schemas.iter().filter_map(|schema| {
        let listed = schema.get("prefixItems").and_then(|items| items.get(index));
        listed.or_else(|| schema.get("items"))?.as_object()
    });
    of.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        match value {
            Value::Object(object) => object,
            other => panic!("not an object: {other}"),
        }
    }

    /// What becomes of these arguments by that schema.
    fn written(arguments: Value, schema: Value) -> String {
        let mut arguments = object(arguments);
        assert!(has_fraction(arguments.values()));
        write_as_integers(&mut arguments, &object(schema));
        Value::Object(arguments).to_string()
    }

    fn one(value: Value, schema: Value) -> String {
        written(json!({ "n": value }), json!({ "properties": { "n": schema } }))
    }

    #[test]
    fn whole_numbers_are_integers_where_an_integer_is_wanted() {
        for (value, integer) in [
            (30.0, "30"),
            (-0.0, "0"),
            (1e3, "1000"),
            (-9_007_199_254_740_992.0, "-9007199254740992"),
        ] {
            for schema in [
                json!({ "type": "integer" }),
                json!({ "type": ["integer", "null"] }),
                json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }),
                json!({ "allOf": [{ "oneOf": [{ "type": "integer", "minimum": 0 }] }] }),
            ] {
                assert_eq!(
                    one(json!(value), schema.clone()),
                    format!(r#"{{"n":{integer}}}"#),
                    "{schema}"
                );
            }
        }
    }

    #[test]
    fn other_numbers_stay_as_they_are() {
        for schema in [
            json!({ "type": "number" }),
            json!({ "type": ["integer", "number"] }),
            json!({}),
            json!(true),
        ] {
            assert_eq!(one(json!(30.0), schema), r#"{"n":30.0}"#);
        }
        for value in [2.5, 1e300, 9_007_199_254_740_994.0] {
            let written = one(json!(value), json!({ "type": "integer" }));
            assert_eq!(written, json!({ "n": value }).to_string());
        }
    }

    #[test]
    fn they_are_found_wherever_they_are() {
        let schema = json!({
            "properties": {
                "list": { "items": { "type": "integer" } },
                "pair": { "prefixItems": [{ "type": "integer" }, { "type": "number" }] },
                "deep": { "$ref": "#/$defs/deep" },
                "first": { "$ref": "#/oneOf/0" },
            },
            "oneOf": [{ "type": "integer" }],
            "additionalProperties": { "type": "integer" },
            "$defs": { "deep": { "properties": { "n": { "type": "integer" }, "again": { "$ref": "#/$defs/deep" } } } },
        });
        let arguments = json!({ "list": [1.0, 2], "pair": [1.0, 1.0], "deep": { "n": 1.0, "again": { "n": 2.0 } }, "other": 3.0 });
        let wanted =
            json!({ "list": [1, 2], "pair": [1, 1.0], "deep": { "n": 1, "again": { "n": 2 } }, "other": 3 });
        assert_eq!(written(arguments, schema), wanted.to_string());
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "$ref": "#", "anyOf": [{ "$ref": "#" }, { "$ref": "#/anyOf" }], "properties": { "n": { "type": "integer" } } });
        assert_eq!(written(json!({ "n": 1.0 }), schema), r#"{"n":1}"#);
    }
}
