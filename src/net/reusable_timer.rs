//! The timer that a connection's requests share.

#![expect(clippy::disallowed_types, reason = "hyper's timers speak of std's Instant")]

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::time;

/// A timer for one wait after the other, as those for the heads of requests are.
///
/// hyper makes a timer for each head and drops it when the head has come. tokio keeps timers behind a lock
/// that all connections share, so here one stays, and is set again when it goes off too early: of waits of
/// one length, once in that time, however many requests come.
#[derive(Debug, Clone, Default)]
pub(super) struct ReusableTimer(Arc<Mutex<Set>>);

#[derive(Debug, Default)]
struct Set {
    sleep: Option<Pin<Box<time::Sleep>>>,
    /// How long the first wait may be.
    first: Option<Duration>,
}

impl ReusableTimer {
    /// A timer whose first wait, that for the first head, is no longer than that.
    pub(super) fn first(first: Duration) -> Self {
        Self(Arc::new(Mutex::new(Set {
            sleep: None,
            first: Some(first),
        })))
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait.
struct Wait {
    timer: ReusableTimer,
    until: time::Instant,
}

impl rt::Timer for ReusableTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        let mut until: time::Instant = deadline.into();
        if let Some(first) = self.set().first.take() {
            until = until.min(time::Instant::now() + first);
        }
        Box::pin(Wait {
            timer: self.clone(),
            until,
        })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

impl rt::Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut set = self.timer.set();
        let sleep = set
            .sleep
            .get_or_insert_with(|| Box::pin(time::sleep_until(self.until)));
        // A wait that is shorter than the one before.
        if self.until < sleep.deadline() {
            sleep.as_mut().reset(self.until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= self.until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn the_first_wait_may_be_shorter() {
        let (timer, began) = (ReusableTimer::first(LONG / 5), time::Instant::now());
        timer.sleep(LONG).await;
        assert_eq!(began.elapsed().as_secs(), (LONG / 5).as_secs());
        timer.sleep(LONG).await;
        assert_eq!(began.elapsed().as_secs(), (LONG / 5 + LONG).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_in_its_own_time() {
        let (timer, began) = (ReusableTimer::default(), time::Instant::now());
        // The first is given up, as that for a head that comes.
        let mut first = timer.sleep(LONG);
        assert!(futures::poll!(first.as_mut()).is_pending());
        drop(first);
        time::advance(LONG / 3).await;
        timer.sleep(LONG).await;
        assert_eq!(began.elapsed().as_secs(), (LONG + LONG / 3).as_secs());
        // It goes off for nobody while a long call is answered.
        let mut given_up = timer.sleep(LONG);
        assert!(futures::poll!(given_up.as_mut()).is_pending());
        drop(given_up);
        time::advance(LONG * 2).await;
        for wait in [LONG, LONG / 5] {
            let again = time::Instant::now();
            timer.sleep(wait).await;
            assert_eq!(again.elapsed().as_secs(), wait.as_secs());
        }
        let mut given_up = timer.sleep(LONG);
        assert!(futures::poll!(given_up.as_mut()).is_pending());
        let again = time::Instant::now();
        timer.sleep(LONG / 5).await;
        assert_eq!(again.elapsed().as_secs(), (LONG / 5).as_secs());
    }
}
