//! An error with all that caused it, in one piece: what logs and failing commands say.

use std::error::Error;
use std::fmt;
use std::iter;

/// An error as `what failed: why: why that`. What a cause repeats is left out.
#[must_use]
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> Causes<'a> {
    Causes(error)
}

/// Made by [`causes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Causes<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for error in iter::successors(Some(self.0), |&error| error.source()) {
            let own = error.to_string();
            if text.is_empty() {
                text = own;
            } else if !text.ends_with(&own) {
                text = format!("{text}: {own}");
            }
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store is out of reach")]
    struct Away(#[source] Box<dyn Error + Send + Sync>);

    #[derive(Debug, thiserror::Error)]
    #[error("the session was not read: {0}")]
    struct ReadFailed(#[source] Away);

    #[test]
    fn every_cause_is_told_once() {
        let error = Away(Box::new(io::Error::other("connection refused")));
        assert_eq!(
            causes(&error).to_string(),
            "the store is out of reach: connection refused"
        );
        // Its own words end with those of its cause.
        assert_eq!(
            causes(&ReadFailed(error)).to_string(),
            "the session was not read: the store is out of reach: connection refused"
        );
    }
}
