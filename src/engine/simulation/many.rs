//! Many seeds, on all processors, with progress.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::run;

/// How many seeds are run unless `SEEDS` says otherwise.
const SEEDS: u64 = 3000;
/// Which of them are played twice.
const AGAIN_EVERY: u64 = 100;
/// How many failures end it.
const FAILURES_MAX: usize = 3;

/// The seeds that `SEEDS` names.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment what to run"
)]
pub(super) fn seeds() -> Range<u64> {
    let text = std::env::var("SEEDS").unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match text.split_once("..") {
        Some((from, to)) => {
            let from = number(from).expect("SEEDS=FROM..TO");
            from..number(to).unwrap_or(from + 1)
        }
        None => 0..number(&text).unwrap_or(SEEDS),
    }
}

/// What the nodes log while a single seed is played, as `LOG` says it: `LOG=anynode=debug`.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment what to show"
)]
fn log_to_stdout() {
    if let Ok(filter) = std::env::var("LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .without_time()
            .init();
    }
}

/// Plays a seed; some of them again, which must be the same run.
fn checked(seed: u64) -> Result<(), String> {
    let digest = run(seed)?;
    if seed.is_multiple_of(AGAIN_EVERY) && run(seed)? != digest {
        return Err("it is another run when it is played again".into());
    }
    Ok(())
}

/// Runs them, and fails if any does.
pub(super) fn simulate(seeds: Range<u64>) {
    if !cfg!(tokio_unstable) {
        panic!("a seed plays the same run again only if tokio is built for that: make simulate");
    }
    if seeds.end - seeds.start == 1 {
        log_to_stdout();
    }
    let (next, done, wrong) = (
        AtomicU64::new(seeds.start),
        AtomicU64::new(0),
        Mutex::new(Vec::new()),
    );
    let failures = || wrong.lock().unwrap().len();
    let work = || {
        while failures() < FAILURES_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(what) = checked(seed) {
                wrong.lock().unwrap().push((seed, what));
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let at_work: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut shown = 0;
        while !at_work.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(200));
            let done = done.load(Ordering::Relaxed);
            if done >= shown + 250 {
                shown = done;
                println!(
                    "{done} of {} seeds, {} failed",
                    seeds.end - seeds.start,
                    failures()
                );
            }
        }
    });
    let wrong = wrong.into_inner().unwrap();
    for (seed, what) in &wrong {
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "seed {seed}:\n{what}\nplay it again: make simulate SEEDS={seed}..\n"
        )
        .unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    println!("simulate: {done} seeds, {} failed", wrong.len());
    assert!(wrong.is_empty(), "{} of {done} seeds failed", wrong.len());
}
