//! The first call of a session on a node that has never seen it, in Redis round trips.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::Connection;
use crate::mcp;
use crate::process::pinned;
use crate::server::Starter;
use crate::statistics::Latency;

/// How it went.
#[derive(Debug, Serialize)]
pub struct Restoration {
    /// The first call of a session on the other node.
    pub first_call: Latency,
    /// The second, which finds the session there.
    pub second_call: Latency,
    /// `PING`, from the core of the nodes to Redis.
    pub ping: Latency,
    /// What the first call took longer, at the median, by the median of `PING`.
    pub round_trips: f64,
}

/// Opens sessions on one node, and calls twice in each on another.
///
/// # Errors
/// When a call is not answered rightly.
pub async fn measure(starter: &Starter, sessions: usize) -> anyhow::Result<Restoration> {
    let (redis, [one, other]) = starter.cluster(&[]).await?;
    let mut at_one = Connection::open(one.port).await?;
    let mut at_other = Connection::open(other.port).await?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for index in 0..sessions + sessions / 10 {
        let caller = mcp::initialize(&mut at_one).await?;
        let mut echo = caller.echo();
        for taken in [&mut first, &mut second] {
            let (number, request) = echo.next();
            let begun = Instant::now();
            let answer = at_other.exchange(request).await?;
            let ended = begun.elapsed();
            mcp::echoed(&answer, number)?;
            // The first tenth warms up.
            if index >= sessions / 10 {
                taken.push(ended);
            }
        }
    }
    let ping = ping_from(starter.cores.server, redis.port).await?;
    let (first_call, second_call) = (Latency::of(first), Latency::of(second));
    let round_trips = (first_call.p50_us - second_call.p50_us) / ping.p50_us;
    Ok(Restoration {
        first_call,
        second_call,
        ping,
        round_trips,
    })
}

/// Runs this program on the nodes' core, to ask Redis from there.
async fn ping_from(core: usize, port: u16) -> anyhow::Result<Latency> {
    let own = std::env::current_exe()?;
    let output = pinned(core, &own.to_string_lossy())
        .args(["ping", &port.to_string()])
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "ping: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let nanos = String::from_utf8(output.stdout)?;
    let taken: Result<Vec<_>, _> = nanos
        .lines()
        .map(|line| line.parse().map(Duration::from_nanos))
        .collect();
    Ok(Latency::of(taken.context("ping prints numbers")?))
}

/// Sends `PING` again and again; returns how long each took.
///
/// # Errors
/// When Redis does not answer.
pub async fn ping(port: u16) -> anyhow::Result<Vec<Duration>> {
    const TIMES: usize = 2000;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut taken = Vec::with_capacity(TIMES);
    for index in 0..TIMES + TIMES / 10 {
        let begun = Instant::now();
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).await?;
        if index >= TIMES / 10 {
            taken.push(begun.elapsed());
        }
        ensure!(&pong == b"+PONG\r\n", "{pong:?}");
    }
    Ok(taken)
}
