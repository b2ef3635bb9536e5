//! What a client is told that asks for a method which is not there.

use rmcp::ErrorData;
use rmcp::model::ErrorCode;

use crate::nearest::closest;
use crate::protocol::classify::{is_legacy_only, is_modern_only};
use crate::protocol::era::Era;
use crate::telemetry::metrics::methods;

/// How many letters of a name may be wrong.
const LETTERS_WRONG_MAX: usize = 3;
/// The longest method that another one is looked for, in bytes.
const METHOD_BYTES_MAX: usize = 64; // comparing takes time by the product of both lengths

/// Names the method, and the one that was meant, if it is close to one of that era.
pub(super) fn unknown_method(method: &str, era: Era) -> String {
    match era {
        Era::Legacy if is_modern_only(method) => {
            return format!(
                "unknown method {method:?}: only clients of 2026-07-28, without a session, have it"
            );
        }
        Era::Modern if is_legacy_only(method) => {
            return format!(
                "unknown method {method:?}: it is one of sessions, which 2026-07-28 does not have"
            );
        }
        _ => {}
    }
    let requests = methods().filter(|known| !known.starts_with("notifications/"));
    let of_era = requests.filter(|known| match era {
        Era::Legacy => !is_modern_only(known),
        Era::Modern => !is_legacy_only(known),
    });
    let near = Some(method)
        .filter(|method| method.len() <= METHOD_BYTES_MAX)
        .and_then(|method| closest(method, of_era, LETTERS_WRONG_MAX));
    match near {
        // A handler that does not have it: it is none that was mistyped.
        Some(same) if same == method => format!("this server does not have {method:?}"),
        Some(near) => format!("unknown method {method:?}, did you mean {near:?}?"),
        None => format!("unknown method {method:?}"),
    }
}

/// A handler's error, in words if it only names the method that is not there, as rmcp's own do.
pub(super) fn in_words(mut error: ErrorData, method: &str, era: Era) -> ErrorData {
    if error.code == ErrorCode::METHOD_NOT_FOUND && error.message == method {
        error.message = unknown_method(method, era).into();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_method_is_answered_with_what_was_meant() {
        for (method, words) in [
            (
                "tools/cal",
                r#"unknown method "tools/cal", did you mean "tools/call"?"#,
            ),
            (
                "tool/list",
                r#"unknown method "tool/list", did you mean "tools/list"?"#,
            ),
            ("own/method", r#"unknown method "own/method""#),
            (
                "resources/subscribe",
                r#"this server does not have "resources/subscribe""#,
            ),
        ] {
            assert_eq!(unknown_method(method, Era::Legacy), words);
        }
        let long = "x".repeat(1 << 20);
        assert!(unknown_method(&long, Era::Legacy).starts_with("unknown method"));
    }

    #[test]
    fn a_method_of_the_other_era_is_not_suggested() {
        assert!(unknown_method("server/discover", Era::Legacy).contains("2026-07-28"));
        assert!(unknown_method("ping", Era::Modern).contains("sessions"));
        let near = unknown_method("logging/setlevel", Era::Modern);
        assert!(!near.contains("did you mean"), "{near}");
    }

    #[test]
    fn a_handlers_own_words_are_left() {
        let own = |words: &'static str| ErrorData::new(ErrorCode::METHOD_NOT_FOUND, words, None);
        let kept = in_words(own("not on Sundays"), "own/method", Era::Legacy);
        assert_eq!(kept.message, "not on Sundays");
        let named = in_words(own("own/method"), "own/method", Era::Legacy);
        assert_eq!(named.message, r#"unknown method "own/method""#);
        let other = ErrorData::invalid_params("own/method", None);
        assert_eq!(in_words(other, "own/method", Era::Legacy).message, "own/method");
    }
}
