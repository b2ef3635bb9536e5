//! Writes lines of logs from a thread of its own: a reader of logs that is slow, stuck or gone neither holds up a
//! node nor ends it.
//!
//! Not `tracing-appender`: its queue is bounded in lines and not in bytes, it does not count what could not
//! be written, and where its queue is full at the end it prints to standard output, which waits or panics
//! when that is broken too.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use metrics::Counter;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

/// What of the log may wait to be written. What comes then is dropped.
pub(super) const LOG_WAITING: LinesKind = LinesKind {
    name: "logs",
    lines_max: 100_000,     // x 8 B, where each ends: 800 KB
    bytes_max: 1024 * 1024, // 5,000 lines of 200 B, of which `info` has a few a second
};
/// How much room the queue keeps when it has been written.
const IDLE_BYTES: usize = 64 * 1024;
/// How often it is said that lines were dropped.
const DROPPED_TOLD_EVERY: Duration = Duration::from_secs(1);
/// When a pipe that takes nothing more, and does not wait, is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// What lines they are, and how many of them may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinesKind {
    /// The name of the thread that writes them.
    pub name: &'static str,
    /// How many may wait,
    pub lines_max: usize,
    /// and how many bytes of them.
    pub bytes_max: usize,
}

/// Where lines are written to. The thread that writes them on ends when this is dropped.
pub(crate) struct Lines(Arc<WaitingLines>);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lines").field(&self.0.kind).finish()
    }
}

/// The lines that wait for the thread that writes them.
pub(crate) struct WaitingLines {
    kind: LinesKind,
    queue: Mutex<Queue>,
    /// Rung when lines came while the thread slept.
    came: Condvar,
    /// Rung when all lines have been written.
    written: Condvar,
    dropped: AtomicU64,
    /// Counts the same for all nodes of the process.
    lost: Counter,
}

#[derive(Default)]
struct Queue {
    lines: Batch,
    /// Whether the thread waits for lines.
    asleep: bool,
    /// Whether it writes some.
    writing: bool,
    /// Whether no more will come.
    closed: bool,
}

/// Lines in one piece, and where each ends.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    /// Starts a thread that writes to `out`. What is dropped counts in `lost`; `tell` says how many lines that
    /// were, once writing works again.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        kind: LinesKind,
        lost: Counter,
        tell: impl Fn(&WaitingLines, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let waiting = Arc::new(WaitingLines {
            kind,
            queue: Mutex::default(),
            came: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
            lost,
        });
        let theirs = Arc::clone(&waiting);
        let work = move || theirs.write_to(Pen { out, torn: false }, &tell);
        drop(thread::Builder::new().name(kind.name.into()).spawn(work)?);
        Ok(Self(waiting))
    }

    /// What is to be known of the lines, also by who does not write them.
    pub(crate) const fn waiting(&self) -> &Arc<WaitingLines> {
        &self.0
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.came.notify_one();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a WaitingLines;

    fn make_writer(&'a self) -> &'a WaitingLines {
        &self.0
    }
}

/// It takes a line in one piece, at once, and never fails.
impl Write for &WaitingLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WaitingLines {
    /// How many lines found no room, or could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines have been written, at most for `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let unwritten = |queue: &mut Queue| queue.writing || !queue.lines.ends.is_empty();
        drop(self.written.wait_timeout_while(self.lock(), limit, unwritten));
    }

    /// Has a line written, or drops it if there is no room.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        let bytes = queue.lines.text.len().saturating_add(line.len());
        if bytes > self.kind.bytes_max || queue.lines.ends.len() >= self.kind.lines_max {
            self.drop_one();
            return;
        }
        queue.lines.text.extend_from_slice(line);
        let end = queue.lines.text.len();
        queue.lines.ends.push(end);
        if queue.asleep {
            self.came.notify_one();
        }
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.lost.increment(1);
    }

    fn write_to<W: Write>(&self, mut pen: Pen<W>, tell: &impl Fn(&Self, u64)) {
        let (mut batch, mut works) = (Batch::default(), true);
        let (mut told, mut tell_at) = (0, Instant::now());
        loop {
            let untold = works && self.dropped() > told;
            if !self.take(&mut batch, untold.then_some(tell_at)) {
                return;
            }
            // The queue has just been emptied: there is room for this line.
            if untold && tell_at <= Instant::now() {
                tell_at = Instant::now() + DROPPED_TOLD_EVERY;
                let dropped = self.dropped();
                tell(self, dropped - told);
                told = dropped;
            }
            for line in batch.lines() {
                works = pen.write(line).is_ok();
                if !works {
                    self.drop_one();
                }
            }
            batch.clear();
        }
    }

    /// Waits for lines, at most until `until`, and takes all there are. False when no more will come.
    fn take(&self, batch: &mut Batch, until: Option<Instant>) -> bool {
        let mut queue = self.lock();
        queue.writing = false;
        if queue.lines.ends.is_empty() {
            self.written.notify_all();
        }
        let idle = |queue: &mut Queue| queue.lines.ends.is_empty() && !queue.closed;
        queue.asleep = true;
        queue = match until {
            Some(until) => {
                let limit = until.saturating_duration_since(Instant::now());
                let waited = self.came.wait_timeout_while(queue, limit, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.came.wait_while(queue, idle);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        queue.asleep = false;
        std::mem::swap(&mut queue.lines, batch);
        queue.writing = !batch.ends.is_empty();
        queue.writing || !queue.closed
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .filter_map(|(start, end)| self.text.get(start..*end))
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(IDLE_BYTES);
        self.ends.clear();
        self.ends.shrink_to(IDLE_BYTES / size_of::<usize>());
    }
}

/// Writes whole lines.
struct Pen<W> {
    out: W,
    /// Whether only a part of the last line was written.
    torn: bool,
}

impl<W: Write> Pen<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let mut left = line;
        while !left.is_empty() {
            match self.out.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(TRY_AGAIN),
                Err(error) => {
                    self.torn |= left.len() < line.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "lines/lines_tests.rs"]
mod tests;
