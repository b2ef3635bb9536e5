//! Reading requests: media types, and bodies within their bound.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::protocol::error::Refusal;

/// How long a body may take to arrive.
const BODY_ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// Checks that the body is said to be JSON.
///
/// # Errors
/// [`Refusal::UnsupportedMediaType`].
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let essence = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
    match essence {
        Some(essence) if essence.trim().eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

/// Checks that a call's answer may be either of what it can be. No `Accept` at all accepts anything (RFC 9110,
/// section 12.5.1).
///
/// # Errors
/// [`Refusal::NotAcceptable`].
pub fn check_accept(headers: &HeaderMap) -> Result<(), Refusal> {
    const RULE: &str = "send Accept: application/json, text/event-stream";
    let anything = !headers.contains_key(ACCEPT);
    if anything || (accepts(headers, "application", "json") && accepts(headers, "text", "event-stream")) {
        Ok(())
    } else {
        Err(Refusal::NotAcceptable(RULE))
    }
}

/// Whether `Accept` names a media type, or a range that holds it.
#[must_use]
pub fn accepts(headers: &HeaderMap, main: &str, sub: &str) -> bool {
    let values = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(',')).filter_map(range);
    ranges
        .any(|(m, s)| (m == "*" || m.eq_ignore_ascii_case(main)) && (s == "*" || s.eq_ignore_ascii_case(sub)))
}

/// A media range's type and subtype; `None` when its weight is zero, which rules it out.
fn range(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split(';').map(str::trim);
    let (main, sub) = parts.next()?.split_once('/')?;
    let zero = |parameter: &str| {
        parameter
            .strip_prefix("q=")
            .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
    };
    (!parts.any(zero)).then_some((main, sub))
}

/// Reads a body of at most `max` bytes.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::BodyIncomplete`].
pub async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Refusal> {
    let declared = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > max)) {
        return Err(Refusal::BodyTooLarge(max));
    }
    let collected = tokio::time::timeout(BODY_ARRIVES_WITHIN, Limited::new(body, max).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLarge(max)),
        Ok(Err(_)) | Err(_) => Err(Refusal::BodyIncomplete),
    }
}

/// A header's text, if it is there and plain.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        check_accept(&headers)
    }

    #[test]
    fn both_media_types_must_be_acceptable() {
        for good in [
            "application/json, text/event-stream",
            "text/event-stream,application/json",
            "*/*",
            "application/*, text/*;q=0.5",
            "Application/JSON, Text/Event-Stream; q=1",
        ] {
            assert_eq!(accept(good), Ok(()), "{good}");
        }
        for bad in [
            "application/json",
            "text/event-stream",
            "text/html",
            "",
            "*/*;q=0",
            "application/json, text/event-stream;q=0.0",
        ] {
            assert!(accept(bad).is_err(), "{bad}");
        }
        assert_eq!(check_accept(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn only_json_bodies_are_taken() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            check_content_type(&headers)
        };
        assert_eq!(of("application/json; charset=utf-8"), Ok(()));
        assert_eq!(of("Application/JSON"), Ok(()));
        assert!(of("text/plain").is_err());
        assert!(of("application/jsonp").is_err());
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
