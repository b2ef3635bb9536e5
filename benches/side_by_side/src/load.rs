//! A closed loop: each client sends its next request when the last one was answered, so a server is as busy as it can be.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::process::{Process, cpu_ns};
use crate::statistics::Latency;

/// How long a load lasts.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// What comes first and does not count.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
    /// Whether the load keeps its core awake: where nothing else has work there.
    pub awake: bool,
}

/// A client of a load.
pub trait Client: Send + 'static {
    /// Does its work once, and checks every answer.
    ///
    /// # Errors
    /// When an answer is wrong, or does not come.
    fn once(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a load came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// How often the work was done in a second.
    pub per_second: f64,
    /// How long the server's threads ran for it each time, in microseconds of one core.
    pub server_us: f64,
    /// Which part of the time they ran. Well below 1: something else was in the way, the load or other programs.
    pub server_busy: f64,
    /// Which part of the time the load ran. Close to 1 while the server is not: the load was the limit, unless it kept itself awake.
    pub load_busy: f64,
    /// How long it took, seen by the client.
    pub latency: Latency,
}

/// Lets all clients work at once, and watches the server's process.
///
/// # Errors
/// When a client fails.
pub async fn run<C: Client>(clients: Vec<C>, process: &Process, span: Span) -> anyhow::Result<Sample> {
    let awake = span.awake.then(|| tokio::spawn(stay_awake()));
    let start = Instant::now() + span.warm_up;
    let end = start + span.measured;
    let mut tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(until(client, start, end)))
        .collect();
    tokio::time::sleep_until(start.into()).await;
    let own = std::process::id();
    let load_before = cpu_ns(own)?;
    let (cpu_before, watched_from) = (process.cpu_ns()?, Instant::now());
    tokio::time::sleep_until(end.into()).await;
    let (cpu_after, watched) = (process.cpu_ns()?, watched_from.elapsed());
    let load = Duration::from_nanos(cpu_ns(own)? - load_before);
    let mut taken = Vec::new();
    for task in &mut tasks {
        taken.append(&mut task.await?.with_context(|| process.last_words())?);
    }
    if let Some(awake) = awake {
        awake.abort();
    }
    let count = taken.len() as f64;
    let busy = Duration::from_nanos(cpu_after - cpu_before).as_secs_f64() / watched.as_secs_f64();
    let per_second = count / span.measured.as_secs_f64();
    Ok(Sample {
        per_second,
        server_us: if count > 0.0 { busy / per_second * 1e6 } else { 0.0 },
        server_busy: busy,
        load_busy: load.as_secs_f64() / watched.as_secs_f64(),
        latency: Latency::of(taken),
    })
}

/// Keeps the load's core from going to sleep. Waking it is work for the server's core, a lot on a virtual machine: a server
/// that answers slowly would pay for that with each answer, a fast one never.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Works until the end; returns how long it took each time from the start on.
async fn until<C: Client>(mut client: C, start: Instant, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut taken = Vec::new();
    let mut begun = Instant::now();
    while begun < end {
        client.once().await?;
        let ended = Instant::now();
        // By when it ended, like the server's time: what began before and ended after are as many.
        if ended >= start && ended <= end {
            taken.push(ended - begun);
        }
        begun = ended;
    }
    Ok(taken)
}
