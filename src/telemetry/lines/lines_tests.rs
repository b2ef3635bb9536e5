//! Tests of the thread that writes log lines, with a reader that reads, is stuck, or fails.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use super::*;

/// Long enough for a thread to be woken on a busy machine; waited for only where a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is written goes to a reader, who may be told to be stuck or to fail.
struct Out {
    written: SyncSender<Vec<u8>>,
    /// What comes of the next writes: how many bytes are taken, or an error. None is left: all.
    fate: Receiver<Result<usize, ErrorKind>>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.fate.try_recv().unwrap_or(Ok(bytes.len()))?;
        self.written
            .send(bytes[..taken].to_vec())
            .map_err(io::Error::other)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Scene {
    lines: Lines,
    written: Receiver<Vec<u8>>,
    fates: SyncSender<Result<usize, ErrorKind>>,
    told: Receiver<u64>,
}

/// A reader that takes `room` writes before it is stuck.
fn scene(room: usize) -> Scene {
    let (to, written) = sync_channel(room);
    let (fates, fate) = sync_channel(100);
    let (tell, told) = sync_channel(100);
    let out = Out { written: to, fate };
    let lines = Lines::start(out, LOG_WAITING, Counter::noop(), move |_waiting, dropped| {
        tell.send(dropped).expect("the test listens");
    });
    Scene {
        lines: lines.expect("a thread"),
        written,
        fates,
        told,
    }
}

impl Scene {
    fn log(&self, line: &str) {
        self.lines
            .make_writer()
            .write_all(line.as_bytes())
            .expect("it takes every line");
    }

    fn read(&self) -> String {
        let bytes = self.written.recv_timeout(PATIENCE).expect("a line is written");
        String::from_utf8(bytes).expect("text")
    }

    fn told(&self) -> u64 {
        self.told
            .recv_timeout(PATIENCE)
            .expect("it is said that lines were dropped")
    }
}

#[test]
fn lines_are_written_whole_and_in_order() {
    let scene = scene(10);
    for line in ["a\n", "b\n", "c\n"] {
        scene.log(line);
    }
    scene.lines.waiting().flush(PATIENCE);
    assert_eq!([scene.read(), scene.read(), scene.read()], ["a\n", "b\n", "c\n"]);
    assert_eq!(scene.lines.waiting().dropped(), 0);
}

/// F2: nobody waits for a reader that does not read; what finds no room is counted, and told when there is
/// some again.
#[test]
fn a_reader_that_is_stuck_stops_nobody() {
    let scene = scene(0);
    let line = "x".repeat(64 * 1024);
    let lines = 3 * (LOG_WAITING.bytes_max / line.len()) as u64;
    for _ in 0..lines {
        scene.log(&line);
    }
    scene.lines.waiting().flush(Duration::ZERO);
    let dropped = scene.lines.waiting().dropped();
    // One queue of lines waits, and one more may be under way.
    assert!(dropped >= lines / 3, "{dropped} of {lines} were dropped");
    for _ in 0..lines - dropped {
        assert_eq!(scene.read(), line);
    }
    assert_eq!(scene.told(), dropped);
}

/// F1: a line that cannot be written is lost and counted, and the next one is tried.
#[test]
fn lines_that_cannot_be_written_are_counted() {
    let scene = scene(10);
    scene.fates.send(Err(ErrorKind::StorageFull)).expect("it reads");
    scene.fates.send(Err(ErrorKind::BrokenPipe)).expect("it reads");
    for line in ["lost\n", "lost too\n", "kept\n"] {
        scene.log(line);
    }
    assert_eq!(scene.read(), "kept\n");
    assert_eq!(scene.told(), 2);
    assert_eq!(scene.lines.waiting().dropped(), 2);
}

#[test]
fn a_line_that_broke_off_does_not_spoil_the_next() {
    let scene = scene(10);
    for fate in [Ok(2), Err(ErrorKind::StorageFull)] {
        scene.fates.send(fate).expect("it reads");
    }
    scene.log("torn\n");
    scene.log("whole\n");
    assert_eq!(
        [scene.read(), scene.read(), scene.read()],
        ["to", "\n", "whole\n"]
    );
}

#[test]
fn what_is_interrupted_or_would_wait_is_tried_again() {
    let scene = scene(10);
    for kind in [
        ErrorKind::Interrupted,
        ErrorKind::WouldBlock,
        ErrorKind::WouldBlock,
    ] {
        scene.fates.send(Err(kind)).expect("it reads");
    }
    scene.log("a\n");
    assert_eq!(scene.read(), "a\n");
    assert_eq!(scene.lines.waiting().dropped(), 0);
}

#[test]
fn the_thread_ends_with_its_subscriber_once_all_is_written() {
    let scene = scene(10);
    scene.log("last\n");
    let waiting = Arc::clone(scene.lines.waiting());
    drop(scene.lines);
    assert_eq!(scene.written.recv_timeout(PATIENCE).expect("written"), b"last\n");
    let more = scene.written.recv_timeout(PATIENCE);
    assert_eq!(more, Err(RecvTimeoutError::Disconnected), "the thread is gone");
    waiting.flush(PATIENCE);
}
