//! Where the lines of the audit log go, and how: a thread of their own writes them, so that a disk or a reader
//! that is slow, full or gone holds up no call.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

use super::line::AuditLine;
use crate::causes::causes;
use crate::config::AuditTo;
use crate::telemetry::{Lines, LinesKind, WaitingLines, metrics, seldom};

/// What may wait to be written. What comes then is dropped and counted.
const AUDIT_WAITING: LinesKind = LinesKind {
    name: "audit",
    lines_max: 10_000,   // as many as a busy node writes in a second
    bytes_max: 10 << 20, // 10_000 x 1 KiB
};
/// How long a node that stops waits until its lines are written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// Nobody but the server's user may read it: it names principals.
const MODE: u32 = 0o600;

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file cannot be opened.
    #[error("audit.to: {} cannot be opened for writing: let this user write there, or name another file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output cannot be written, or no thread be started.
    #[error("audit.to: the audit log cannot be begun")]
    Begin(#[source] io::Error),
}

/// The audit log of a node. The thread that writes it ends with it.
#[derive(Debug)]
pub(super) struct AuditLog {
    lines: Lines,
    /// Set when the file is to be opened again, if there is one.
    reopen: Option<Arc<AtomicBool>>,
}

impl AuditLog {
    /// Begins to write there; `None` if nothing is to be written.
    pub(super) fn open(to: &AuditTo) -> Result<Option<Self>, AuditError> {
        let (sink, reopen) = match to {
            AuditTo::Off => return Ok(None),
            AuditTo::Stdout => {
                let stdout = io::stdout().as_fd().try_clone_to_owned();
                (AuditSink::always(stdout.map_err(AuditError::Begin)?), None)
            }
            AuditTo::File(path) => {
                let file = open(path).map_err(|source| AuditError::File {
                    path: path.clone(),
                    source,
                })?;
                let reopen = Arc::new(AtomicBool::new(false));
                let sink = AuditSink {
                    file,
                    path: path.clone(),
                    reopen: Arc::clone(&reopen),
                };
                (sink, Some(reopen))
            }
        };
        let lost = metrics::audit_lines_dropped();
        let lines = Lines::start(sink, AUDIT_WAITING, lost, tell_dropped);
        let lines = lines.map_err(AuditError::Begin)?;
        Ok(Some(Self { lines, reopen }))
    }

    pub(super) fn write(&self, line: &AuditLine<'_>) {
        self.lines.waiting().push(&line.to_bytes());
    }

    pub(super) const fn has_file(&self) -> bool {
        self.reopen.is_some()
    }

    pub(super) fn reopen(&self) {
        if let Some(reopen) = &self.reopen {
            reopen.store(true, Ordering::Release);
        }
    }

    pub(super) fn flush(&self) {
        self.lines.waiting().flush(FLUSH_WITHIN);
    }
}

/// Writes that lines were dropped.
fn tell_dropped(waiting: &WaitingLines, dropped: u64) {
    waiting.push(&AuditLine::dropped(dropped).to_bytes());
}

/// Opens the file, and makes it if need be.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

/// What the thread writes to.
struct AuditSink {
    file: File,
    /// Where the file is; empty for standard output.
    path: PathBuf,
    reopen: Arc<AtomicBool>,
}

impl AuditSink {
    /// One that is never opened again.
    fn always(file: std::os::fd::OwnedFd) -> Self {
        Self {
            file: file.into(),
            path: PathBuf::new(),
            reopen: Arc::default(),
        }
    }
}

impl Write for AuditSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.reopen.swap(false, Ordering::AcqRel) {
            match open(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => {
                    let path = self.path.display();
                    warn!(target: "anynode::audit", %path, error = %causes(&error), "the audit log cannot be opened again: the file that was open is written on");
                }
            }
        }
        let written = self.file.write(line);
        if let Err(error) = &written
            && !matches!(
                error.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
            )
        {
            let words = "the audit log cannot be written: lines are lost";
            seldom(words, |left_out| {
                warn!(target: "anynode::audit", error = %causes(error), left_out, "{words}");
            });
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use ::metrics::Counter;
    use serde_json::Value;

    use super::*;
    use crate::audit::{Act, Actor};

    /// Nobody waits for who does not read. What finds no room is counted, and told once there is some.
    #[test]
    fn a_reader_of_the_audit_log_that_is_stuck_stops_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = AuditSink::always(OwnedFd::from(writer));
        let lines = Lines::start(sink, AUDIT_WAITING, Counter::noop(), tell_dropped).unwrap();
        let log = AuditLog { lines, reopen: None };
        let more = 2_000;
        let line = AuditLine::of("node-1", &Actor::default(), &Act::SessionMade);
        for _ in 0..AUDIT_WAITING.lines_max + more {
            log.write(&line);
        }
        // Some are in the pipe, and some in the hands of the thread.
        let dropped = log.lines.waiting().dropped();
        assert!(dropped > 0 && dropped <= more as u64, "{dropped}");
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        // Until it has told.
        log.flush();
        log.write(&line);
        drop(log);
        let text = reading.join().unwrap();
        let told = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told = told.filter(|line| line["event"] == "lines_dropped");
        let told: u64 = told.filter_map(|line| line["count"].as_u64()).sum();
        assert_eq!(told, dropped);
        let written = text.lines().filter(|line| line.contains("session_made")).count() as u64;
        assert_eq!(written + dropped, (AUDIT_WAITING.lines_max + more) as u64 + 1);
    }
}
