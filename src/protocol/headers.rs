//! The request headers of 2026-07-28: they must say what the body says (SEP-2243).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName};
use rmcp::model::JsonObject;
use rmcp::transport::common::http_header::{
    BASE64_HEADER_PREFIX, BASE64_HEADER_SUFFIX, HEADER_MCP_PARAM_PREFIX,
};
use serde_json::Value;

use super::error::Refusal;

/// The headers of every request. As names and not as text, which would be read as a name each time.
pub(crate) static VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) static METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) static NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");
/// Whether a header of that name repeats an argument (SEP-2243).
pub(crate) fn is_param(name: &str) -> bool {
    let prefix = HEADER_MCP_PARAM_PREFIX.len();
    name.get(..prefix)
        .is_some_and(|begins| begins.eq_ignore_ascii_case(HEADER_MCP_PARAM_PREFIX))
        && name.len() > prefix
}

/// How deep `properties` chains are followed in a tool's input schema.
const SCHEMA_DEPTH_MAX: usize = 16;

/// Which member of `params` the `Mcp-Name` header repeats, for the methods that have one.
#[must_use]
pub(crate) fn name_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// Holds `Mcp-Method` and `Mcp-Name` against the body's method and name.
///
/// # Errors
/// [`Refusal::HeaderMismatch`].
pub(crate) fn check_method_and_name(
    headers: &HeaderMap,
    method: &str,
    name: Option<&str>,
) -> Result<(), Refusal> {
    match single(headers, &METHOD_HEADER, "Mcp-Method")? {
        None => return mismatch("the Mcp-Method header is missing".into()),
        Some(value) if value != method => {
            return mismatch(format!("Mcp-Method is not the body's method, `{method}`"));
        }
        Some(_) => {}
    }
    let Some(name) = name else { return Ok(()) };
    match single(headers, &NAME_HEADER, "Mcp-Name")? {
        None => mismatch(format!("the Mcp-Name header is missing, which `{method}` needs")),
        Some(value) if decode(value).as_deref() == Some(name) => Ok(()),
        Some(_) => mismatch("Mcp-Name is not what the body names".into()),
    }
}

/// Holds the `Mcp-Param-*` headers against the arguments that a tool's schema marks with `x-mcp-header`.
///
/// # Errors
/// [`Refusal::HeaderMismatch`].
pub(crate) fn check_params(
    headers: &HeaderMap,
    schema: &JsonObject,
    arguments: Option<&JsonObject>,
) -> Result<(), Refusal> {
    let mut marked = Vec::new();
    collect_marked(schema, &mut Vec::new(), &mut marked);
    for (path, suffix) in marked {
        let header = format!("{HEADER_MCP_PARAM_PREFIX}{suffix}");
        let argument = arguments
            .and_then(|arguments| value_at(arguments, &path))
            .and_then(primitive_text);
        match (single(headers, header.as_str(), &header)?, argument) {
            (None, None) => {}
            (None, Some(_)) => return mismatch(format!("the {header} header is missing")),
            (Some(_), None) => return mismatch(format!("{header} is given, but the argument is not")),
            (Some(value), Some(text)) if decode(value).as_ref() == Some(&text) => {}
            (Some(_), Some(_)) => return mismatch(format!("{header} is not what the argument says")),
        }
    }
    Ok(())
}

fn mismatch(reason: String) -> Result<(), Refusal> {
    Err(Refusal::HeaderMismatch(reason))
}

/// The header's only value. A second one would let a proxy route by a value that is never served.
fn single<'a>(
    headers: &'a HeaderMap,
    header: impl AsHeaderName,
    name: &str,
) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::HeaderMismatch(format!("{name} is given more than once")));
    }
    let text = value
        .to_str()
        .map_err(|_not_ascii| Refusal::HeaderMismatch(format!("{name} is not plain ASCII")))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// A header's value with the `=?base64?…?=` wrapping undone; `None` when what is wrapped is not base64 of
/// UTF-8.
fn decode(value: &str) -> Option<String> {
    let wrapped = value
        .strip_prefix(BASE64_HEADER_PREFIX)
        .and_then(|rest| rest.strip_suffix(BASE64_HEADER_SUFFIX));
    match wrapped {
        Some(text) => String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn collect_marked<'a>(
    schema: &'a JsonObject,
    path: &mut Vec<&'a str>,
    out: &mut Vec<(Vec<&'a str>, &'a str)>,
) {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return;
    };
    if path.len() >= SCHEMA_DEPTH_MAX {
        return;
    }
    for (name, property) in properties {
        let Value::Object(property) = property else {
            continue;
        };
        path.push(name);
        if let Some(Value::String(suffix)) = property.get("x-mcp-header").filter(|suffix| **suffix != "") {
            out.push((path.clone(), suffix));
        }
        collect_marked(property, path, out);
        path.pop();
    }
}

fn value_at<'a>(arguments: &'a JsonObject, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(arguments.get(*first)?, |value, key| value.get(key))
}

fn primitive_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn param(body: &str, header: Option<&str>) -> Result<(), Refusal> {
        let schema = json!({"properties":{"value":{"type":"string","x-mcp-header":"Value"}}});
        let arguments = json!({ "value": body });
        let headers = header.map_or_else(HeaderMap::new, |value| headers(&[("mcp-param-value", value)]));
        check_params(&headers, schema.as_object().unwrap(), arguments.as_object())
    }

    #[test]
    fn method_and_name_must_match_the_body() {
        let good = headers(&[("MCP-METHOD", "tools/call"), ("mcp-name", "  echo ")]);
        assert_eq!(check_method_and_name(&good, "tools/call", Some("echo")), Ok(()));
        assert!(check_method_and_name(&good, "tools/list", None).is_err());
        assert!(check_method_and_name(&good, "tools/call", Some("other")).is_err());
        assert!(check_method_and_name(&headers(&[]), "tools/list", None).is_err());
        assert!(
            check_method_and_name(&headers(&[("mcp-method", "TOOLS/LIST")]), "tools/list", None).is_err()
        );
        assert!(
            check_method_and_name(&headers(&[("mcp-method", "tools/call")]), "tools/call", Some("x"))
                .is_err()
        );
        let twice = headers(&[("mcp-method", "ping"), ("mcp-method", "ping")]);
        let mut doubled = twice.clone();
        doubled.append("mcp-method", HeaderValue::from_static("ping"));
        assert!(check_method_and_name(&doubled, "ping", None).is_err());
    }

    #[test]
    fn marked_arguments_must_match_their_headers() {
        assert_eq!(param("Hello", Some("=?base64?SGVsbG8=?=")), Ok(()));
        assert!(param("Hello", Some("=?base64?SGVsbG8?=")).is_err(), "bad padding");
        assert!(
            param("Hello", Some("=?base64?SGVs!!!bG8=?=")).is_err(),
            "bad alphabet"
        );
        assert_eq!(param("SGVsbG8=", Some("SGVsbG8=")), Ok(()));
        assert_eq!(
            param("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
            Ok(()),
            "a literal without the end"
        );
        assert!(param("Hello", None).is_err());
    }
}
