//! The only place that prints: answers to standard output, failures to standard error.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::iter;

/// Writes an answer. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// When standard output cannot be written.
pub fn answer(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Says why a command failed, with all causes.
pub fn failure(error: &(dyn Error + 'static)) {
    let mut err = io::stderr().lock();
    // Nothing is left to tell it to when standard error is gone.
    drop(writeln!(err, "mcp-server: {}", chain(error)));
}

/// An error with its causes, `a: b: c`; what a cause repeats is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in iter::successors(Some(error), |&error| error.source()) {
        let own = error.to_string();
        if text.is_empty() {
            text = own;
        } else if !text.ends_with(&own) {
            text = format!("{text}: {own}");
        }
    }
    // Problems of settings are one a line.
    text.replace('\n', "\n  ")
}

/// Text from a client that is safe to show on a terminal: one line, no control characters, not too long.
#[must_use]
pub fn plain(text: &str, chars_max: usize) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(chars_max)
        .collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_failure_tells_its_causes_once() {
        let refused = io::Error::other("connection refused");
        let error = StoreError::Unreachable(Box::new(refused));
        assert_eq!(chain(&error), "the store is out of reach: connection refused");
    }

    #[test]
    fn clients_cannot_write_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n", 80), "a?[2Jb?");
        assert_eq!(plain("abcdef", 3), "abc…");
    }
}
