//! Logs what can happen with every request at most once a second, with how often it was left out meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// How often one kind of line is logged.
const EVERY: Duration = Duration::from_secs(1);
/// How many kinds are told apart. Those above share the place of the last.
const KINDS_MAX: usize = 64; // 64 x 64 B = 4 KiB

static SELDOM: Seldom = Seldom::new();

/// Lets `tell` log one kind of line, unless that was logged within the last second. `tell` gets how often
/// this kind was left out since.
pub(crate) fn seldom(kind: &str, tell: impl FnOnce(u64)) {
    // Said outside the lock: a panic that logs comes here again.
    if let Some(left_out) = SELDOM.turn(kind) {
        tell(left_out);
    }
}

/// Logs what was left out of kinds that have come to rest. Call it now and then.
pub(crate) fn tell_left_out() {
    tell(SELDOM.at_rest(EVERY));
}

/// Logs what was left out so far.
pub(super) fn tell_all_left_out() {
    tell(SELDOM.at_rest(Duration::ZERO));
}

fn tell(kinds: Vec<(Box<str>, u64)>) {
    for (kind, left_out) in kinds {
        warn!(kind, left_out, "more lines of this kind were left out");
    }
}

struct Seldom(Mutex<Vec<LineKind>>);

struct LineKind {
    name: Box<str>,
    said: Instant,
    left_out: u64,
}

impl Seldom {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// How often this kind was left out since it was last said, if it may be said now.
    fn turn(&self, name: &str) -> Option<u64> {
        let now = Instant::now();
        let mut kinds = self.lock();
        let place = kinds.iter().position(|kind| *kind.name == *name);
        let place = match place {
            Some(place) => place,
            None if kinds.len() < KINDS_MAX => {
                kinds.push(LineKind {
                    name: name.into(),
                    said: now,
                    left_out: 0,
                });
                return Some(0);
            }
            None => KINDS_MAX - 1,
        };
        let kind = kinds.get_mut(place)?;
        if now.duration_since(kind.said) < EVERY {
            kind.left_out += 1;
            return None;
        }
        kind.said = now;
        Some(std::mem::take(&mut kind.left_out))
    }

    /// What was left out of kinds that were not said for `rest`, which is then forgotten.
    fn at_rest(&self, rest: Duration) -> Vec<(Box<str>, u64)> {
        let now = Instant::now();
        let mut kinds = self.lock();
        let resting = kinds
            .iter_mut()
            .filter(|kind| kind.left_out > 0 && now.duration_since(kind.said) >= rest);
        resting
            .map(|kind| (kind.name.clone(), std::mem::take(&mut kind.left_out)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LineKind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// M8: a thousand refusals are two lines, the second of which counts the rest.
    #[tokio::test(start_paused = true)]
    async fn one_kind_is_said_once_a_second_and_the_rest_is_counted() {
        let seldom = Seldom::new();
        assert_eq!(seldom.turn("full"), Some(0));
        for _ in 0..1000 {
            assert_eq!(seldom.turn("full"), None);
        }
        assert_eq!(seldom.turn("read-only"), Some(0), "another kind");
        advance(EVERY).await;
        assert_eq!(seldom.turn("full"), Some(1000));
        assert_eq!(seldom.turn("full"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_out_is_told_though_nothing_follows() {
        let seldom = Seldom::new();
        for _ in 0..3 {
            seldom.turn("full");
        }
        assert_eq!(seldom.at_rest(EVERY), [], "it may still be said");
        advance(EVERY).await;
        assert_eq!(seldom.at_rest(EVERY), [("full".into(), 2)]);
        assert_eq!(seldom.at_rest(EVERY), []);
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_are_bounded() {
        let seldom = Seldom::new();
        for kind in 0..KINDS_MAX {
            assert_eq!(seldom.turn(&kind.to_string()), Some(0));
        }
        assert_eq!(seldom.turn("one more"), None, "it shares the place of the last");
        assert_eq!(seldom.lock().len(), KINDS_MAX);
    }
}
