//! The only place that prints: answers to standard output, failures to standard error.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::program::Program;
use crate::causes::causes;

/// How long a greeting, failure or remark waits for a reader that is stuck.
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// Writes an answer, for as long as its reader takes. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn answer(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Writes an answer that repeats the exit code. A failure to write it changes nothing, and it waits only a
/// moment for a reader that is stuck.
pub(crate) fn remark(text: String) {
    apart(move || {
        if let Err(error) = answer(&text) {
            failure(&error);
        }
    });
}

/// Prints that a node has started. It waits only a moment for a reader that is stuck.
pub(crate) fn greeting(text: String) {
    apart(move || {
        if let Err(error) = answer(&text) {
            tracing::warn!(error = %causes(&error), "the greeting could not be written");
        }
    });
}

/// Prints why a command failed, with all causes. It waits only a moment for a reader that is stuck.
pub(crate) fn failure(error: &(dyn Error + 'static)) {
    // Problems of settings are one a line.
    let text = causes(error).to_string().replace('\n', "\n  ");
    apart(move || {
        // When standard error is gone, nobody can be told.
        drop(writeln!(io::stderr().lock(), "{}: {text}", Program::this().name));
    });
}

/// Writes in a thread of its own, and waits a moment for it: a full pipe holds up only that thread.
fn apart(write: impl FnOnce() + Send + 'static) {
    let (done, said) = sync_channel(1);
    let work = move || {
        write();
        done.send(()).ok();
    };
    drop(thread::Builder::new().name("print".into()).spawn(work));
    said.recv_timeout(SAID_WITHIN).ok();
}

/// Text from a client that is safe to show on a terminal: one line, no control characters, not too long.
#[must_use]
pub(crate) fn plain(text: &str, chars_max: usize) -> String {
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

    #[test]
    fn clients_cannot_write_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n", 80), "a?[2Jb?");
        assert_eq!(plain("abcdef", 3), "abc…");
    }
}
