//! Asks nodes over and over through an outage, and judges every single answer.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::client::Answer;
use crate::support::process::eventually;

/// The longest that any answer may take: twice the store's timeout in these tests, since some requests ask
/// twice, and some to spare on a busy machine. "A client never hangs."
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// When Redis was restarted empty, if it was: from then on, and not before, a session may be unknown.
pub(super) type Emptied = Arc<OnceLock<Instant>>;

/// Whether a 404 may be believed that came just now.
pub(super) fn may_be_gone(emptied: &Emptied) -> bool {
    emptied.get().is_some()
}

/// The status of an answer, and what was wrong with it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) wrong: Option<String>,
}

impl Told {
    /// Judges a whole answer: one of 503 must say when to try again, and why.
    pub(super) fn of(answer: &Answer) -> Self {
        let status = answer.status;
        let wrong = match status {
            200 => answer.messages.last().and_then(wrong_result),
            202 => None,
            404 => (answer.code() != -32001).then(|| "no `Session not found`".to_owned()),
            503 => {
                let seconds = answer.header("retry-after").map(str::parse::<u64>);
                let right = matches!(seconds, Some(Ok(1..))) && answer.code() == -32000;
                (!right).then(|| format!("not a 503 as it should be: {answer:?}"))
            }
            _ => Some(format!("{answer:?}")),
        };
        Self { status, wrong }
    }

    /// Judges the answer to a request for a stream. The stream is closed.
    pub(super) async fn of_stream(response: reqwest::Response) -> Self {
        if response.status() == 200 {
            return Self {
                status: 200,
                wrong: None,
            };
        }
        Self::of(&Answer::read(response).await)
    }
}

/// What is wrong with an answer of 200: a request that needs Redis may fail as a JSON-RPC error, but none of
/// these does.
fn wrong_result(message: &Value) -> Option<String> {
    let failed = message.get("error").is_some() || message["result"]["isError"] == true;
    failed.then(|| format!("200 without a result: {message}"))
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    sent: Instant,
    got: Instant,
    status: u16,
}

/// One kind of request, asked over and over.
#[derive(Debug)]
struct Series {
    name: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// Everything that is asked.
#[derive(Debug)]
pub(super) struct Watch {
    emptied: Emptied,
    stop: CancellationToken,
    series: Vec<Series>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    pub(super) fn new(emptied: &Emptied) -> Self {
        Self {
            emptied: Arc::clone(emptied),
            stop: CancellationToken::new(),
            series: Vec::new(),
            wrong: Arc::default(),
        }
    }

    /// Asks from now on, one request after the other, with a pause of `every` between them.
    pub(super) fn ask<F>(&mut self, name: &'static str, every: Duration, ask: F)
    where
        F: Fn() -> BoxFuture<'static, Told> + Send + 'static,
    {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, stop) = (Arc::clone(&seen), self.stop.clone());
        let (wrong, emptied) = (Arc::clone(&self.wrong), Arc::clone(&self.emptied));
        let task = tokio::spawn(async move {
            while !stop.is_cancelled() {
                let sent = Instant::now();
                let told = ask().await;
                let got = Instant::now();
                let status = told.status;
                log.lock().unwrap().push(Seen { sent, got, status });
                let too_early = status == 404 && !may_be_gone(&emptied);
                let early = too_early.then(|| "404 while the session is only out of reach".to_owned());
                let late = (got - sent > ANSWER_WITHIN).then(|| format!("it took {:?}", got - sent));
                let found = [told.wrong, early, late].into_iter().flatten();
                let found = found.map(|wrong| format!("{name}: {wrong}"));
                wrong.lock().unwrap().extend(found);
                sleep(every).await;
            }
        });
        self.series.push(Series { name, seen, task });
    }

    /// Waits until the last answer of each series is one of `well`.
    pub(super) async fn all_well(&self, well: &[u16]) {
        let from = Instant::now();
        for series in &self.series {
            let what = format!("{}: it is well again", series.name);
            eventually(&what, || async {
                self.check();
                let last = *series.seen.lock().unwrap().last()?;
                (last.sent >= from && well.contains(&last.status)).then_some(())
            })
            .await;
        }
    }

    /// Fails the test if anything was wrong until now.
    pub(super) fn check(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} wrong answers: {wrong:#?}", wrong.len());
        for series in &self.series {
            let ended = series.task.is_finished() && !self.stop.is_cancelled();
            assert!(!ended, "{}: the node did not answer", series.name);
        }
    }

    /// The statuses of a series, without those that were answered before `from` or asked after `to`, repeats
    /// left out.
    pub(super) fn course(&self, name: &str, from: Option<Instant>, to: Option<Instant>) -> Vec<u16> {
        let series = self.series.iter().find(|series| series.name == name);
        let series = series.unwrap_or_else(|| panic!("nothing is called {name}"));
        let seen = series.seen.lock().unwrap();
        let inside = seen
            .iter()
            .filter(|seen| from.is_none_or(|from| seen.sent >= from) && to.is_none_or(|to| seen.got <= to));
        let mut course: Vec<u16> = inside.map(|seen| seen.status).collect();
        course.dedup();
        course
    }

    /// Ends the watch, and prints how often each series was asked, and how long its slowest answer took.
    #[expect(
        clippy::print_stdout,
        reason = "figures for people: nextest shows them on request"
    )]
    pub(super) async fn end(mut self) {
        self.check();
        self.stop.cancel();
        for series in &mut self.series {
            (&mut series.task).await.expect("every request was answered");
            let seen = series.seen.lock().unwrap();
            let slowest = seen.iter().map(|seen| seen.got - seen.sent).max();
            let of = |status| seen.iter().filter(|seen| seen.status == status).count();
            println!(
                "{:28} {:4} answers: {:4} x 200, {:4} x 202, {:4} x 503, {:4} x 404; slowest {:?}",
                series.name,
                seen.len(),
                of(200),
                of(202),
                of(503),
                of(404),
                slowest.unwrap_or_default()
            );
        }
        self.check();
    }
}
