//! Media types: what a body is said to be, and which answers a client accepts.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};

use crate::config::ReplyForm;
use crate::protocol::error::Refusal;

/// Checks that the body is said to be JSON.
///
/// # Errors
/// [`Refusal::UnsupportedMediaType`].
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let essence = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
    match essence {
        Some(essence) if essence.trim().eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

/// The form that a client's answer has: the one that is set if it accepts both, and single bodies if it
/// accepts only these. No `Accept` at all accepts anything (RFC 9110, section 12.5.1).
///
/// # Errors
/// [`Refusal::NotAcceptable`].
pub(super) fn check_accept(headers: &HeaderMap, form: ReplyForm) -> Result<ReplyForm, Refusal> {
    let accept = headers.get(ACCEPT);
    if accept.is_some_and(|value| value.as_bytes() == BOTH) {
        return Ok(form);
    }
    let anything = accept.is_none();
    let json = anything || accepts(headers, "application", "json");
    let stream = anything || accepts(headers, "text", "event-stream");
    match (json, stream, form) {
        (true, true, _) => Ok(form),
        (true, false, _) => Ok(ReplyForm::Json),
        (_, _, ReplyForm::Json) => Err(Refusal::NotAcceptable("send Accept: application/json")),
        _ => Err(Refusal::NotAcceptable(SEND_BOTH)),
    }
}

/// Checks that the answer may be a stream of events.
///
/// # Errors
/// [`Refusal::NotAcceptable`].
pub(super) fn check_accept_stream(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(ACCEPT) || accepts(headers, "text", "event-stream") {
        Ok(())
    } else {
        Err(Refusal::NotAcceptable("send Accept: text/event-stream"))
    }
}

/// What a client is told to send that may get either.
pub(super) const SEND_BOTH: &str = "send Accept: application/json, text/event-stream";
/// What nearly all clients send: it is not taken apart.
const BOTH: &[u8] = b"application/json, text/event-stream";

/// Whether `Accept` takes a media type. The most specific range that holds the type decides: a weight of zero
/// rules it out (RFC 9110, section 12.5.1).
#[must_use]
pub(super) fn accepts(headers: &HeaderMap, main: &str, sub: &str) -> bool {
    let values = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(',')).filter_map(Range::read);
    let holding = ranges.filter_map(|range| Some((range.specificity(main, sub)?, range.accepted)));
    holding.max().is_some_and(|(_, accepted)| accepted)
}

/// One range of media types in `Accept`.
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    /// Whether its weight is more than zero.
    accepted: bool,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let zero = |parameter: &str| {
            let (name, weight) = parameter.split_once('=').unwrap_or_default();
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight && weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
        };
        let accepted = !parts.any(zero);
        Some(Self { main, sub, accepted })
    }

    /// How closely it names a media type; `None` when it does not hold it.
    fn specificity(&self, main: &str, sub: &str) -> Option<u8> {
        match (self.main, self.sub) {
            ("*", "*") => Some(0),
            (its, "*") if its.eq_ignore_ascii_case(main) => Some(1),
            (its, sub_of) if its.eq_ignore_ascii_case(main) && sub_of.eq_ignore_ascii_case(sub) => Some(2),
            _ => None,
        }
    }
}

/// A header's text, if it is there and plain.
#[must_use]
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> Result<ReplyForm, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        check_accept(&headers, ReplyForm::Auto)
    }

    #[test]
    fn the_answer_has_a_form_that_is_accepted() {
        for good in [
            "application/json, text/event-stream",
            "text/event-stream,application/json",
            "*/*",
            "application/*, text/*;q=0.5",
            "Application/JSON, Text/Event-Stream; q=1",
            "text/*;q=0, text/event-stream, application/json",
            "*/*;q=0, application/json; Q = 0.5, text/event-stream",
        ] {
            assert_eq!(accept(good), Ok(ReplyForm::Auto), "{good}");
        }
        for single in [
            "application/json",
            "application/*",
            "application/json, text/event-stream;q=0.0",
            "*/*, text/event-stream;q=0",
            "application/json, text/*;q=0",
        ] {
            assert_eq!(accept(single), Ok(ReplyForm::Json), "{single}");
        }
        for bad in [
            "text/event-stream",
            "*/*, application/json;q=0",
            "text/html",
            "",
            "*/*;q=0",
        ] {
            assert!(accept(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_accept(&HeaderMap::new(), ReplyForm::Sse),
            Ok(ReplyForm::Sse)
        );
    }

    #[test]
    fn who_gets_single_bodies_only_need_not_accept_streams() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for form in [ReplyForm::Json, ReplyForm::Sse, ReplyForm::Auto] {
            assert_eq!(check_accept(&headers, form), Ok(ReplyForm::Json));
        }
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        assert!(check_accept(&headers, ReplyForm::Json).is_err());
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
