//! The only place that prints: answers to standard output, failures to standard error.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::causes::causes;

/// How long who greets, says why a command failed, or what the exit code tells already, waits for a reader
/// who may be stuck.
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

/// Writes an answer that the exit code tells already: that it cannot be written changes nothing, and who does
/// not read it is waited for a moment.
pub(crate) fn remark(text: String) {
    apart(move || {
        if let Err(error) = answer(&text) {
            failure(&error);
        }
    });
}

/// Says that a node has started. Who does not read it is waited for a moment.
pub(crate) fn greeting(text: String) {
    apart(move || {
        if let Err(error) = answer(&text) {
            tracing::warn!(error = %causes(&error), "the greeting could not be written");
        }
    });
}

/// Says why a command failed, with all causes. Who does not read it is waited for a moment.
pub(crate) fn failure(error: &(dyn Error + 'static)) {
    // Problems of settings are one a line.
    let text = causes(error).to_string().replace('\n', "\n  ");
    apart(move || {
        // Nothing is left to tell it to when standard error is gone.
        drop(writeln!(io::stderr().lock(), "mcp-server: {text}"));
    });
}

/// Writes in a thread of its own, so that a pipe that is full holds up only that, and waits for it a moment.
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
