//! What the clients of a load have seen: how much of it, and everything that should not have been.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

/// How many failures are told in full: the first ones say why.
const FAILURES_TOLD: usize = 12;

/// How much clients have seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// Calls that were answered.
    pub(super) calls: usize,
    /// Those of them that took their time.
    pub(super) long: usize,
    /// Events read from streams.
    pub(super) events: usize,
    /// Streams of calls taken up again with `Last-Event-ID`.
    pub(super) resumed: usize,
    /// Standing streams opened again: `GET /mcp`, `GET /sse`, `subscriptions/listen`.
    pub(super) reopened: usize,
    /// Requests sent again because they were refused before anybody looked at them (503, 410, no connection).
    pub(super) retried: usize,
    /// Calls of 2026-07-28 made once more because their stream was closed before the answer.
    pub(super) reissued: usize,
    /// Calls answered by `node lost, outcome unknown`.
    pub(super) lost: usize,
    /// Changes that every watcher was told of.
    pub(super) changes: usize,
    /// Times that a watcher was told of one.
    pub(super) told: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            calls,
            long,
            events,
            resumed,
            reopened,
            retried,
            reissued,
            lost,
            changes,
            told,
        } = self;
        write!(
            f,
            "{calls} calls ({long} long), {events} events, {resumed} resumed, {reopened} standing streams reopened, \
             {retried} retried, {reissued} reissued, {lost} lost with their node, {changes} changes told {told} times"
        )
    }
}

/// Where all clients of a load write down what they see.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: Mutex<(Figures, Vec<String>)>,
}

impl Ledger {
    /// Counts something.
    pub(super) fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock().0);
    }

    /// Notes what should not have been: which client, which call, which node, what was seen.
    pub(super) fn fail(&self, what: String) {
        self.lock().1.push(what);
    }

    /// How much was seen so far.
    pub(super) fn figures(&self) -> Figures {
        self.lock().0
    }

    /// What failed so far, in words; empty when nothing did.
    pub(super) fn failures(&self) -> String {
        let seen = self.lock();
        let failures = &seen.1;
        if failures.is_empty() {
            return String::new();
        }
        let told: Vec<&str> = failures.iter().take(FAILURES_TOLD).map(String::as_str).collect();
        format!(
            "{} failures, the first of them:\n{}",
            failures.len(),
            told.join("\n")
        )
    }

    fn lock(&self) -> MutexGuard<'_, (Figures, Vec<String>)> {
        self.seen.lock().expect("nobody panics while holding the ledger")
    }
}
