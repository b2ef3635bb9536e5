//! The first call of a session on a node that has never seen it, in Redis round trips.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout};

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
    /// `PING`, from the core of the nodes to Redis, once after each session: Redis shares its core with the load, and
    /// takes longer for one command now and then than for one after the other.
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
    let mut pinger = Pinger::start(starter.cores.server, redis.port)?;
    let (mut first, mut second, mut pings) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..sessions + sessions / 10 {
        let caller = mcp::initialize(&mut at_one).await?;
        let mut echo = caller.echo();
        // The first tenth warms up.
        let counts = index >= sessions / 10;
        for taken in [&mut first, &mut second] {
            let (number, request) = echo.next();
            let begun = Instant::now();
            let answer = at_other.exchange(request).await?;
            let ended = begun.elapsed();
            mcp::echoed(&answer, number)?;
            if counts {
                taken.push(ended);
            }
        }
        let ping = pinger.ping().await?;
        if counts {
            pings.push(ping);
        }
    }
    let (first_call, second_call, ping) = (Latency::of(first), Latency::of(second), Latency::of(pings));
    let round_trips = (first_call.p50_us - second_call.p50_us) / ping.p50_us;
    Ok(Restoration {
        first_call,
        second_call,
        ping,
        round_trips,
    })
}

/// This program once more, on the nodes' core, to ask Redis from there.
struct Pinger {
    _child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Pinger {
    fn start(core: usize, port: u16) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let mut child = pinned(core, &own.to_string_lossy())
            .args(["ping", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            _child: child,
            ask: ask.context("it is asked")?,
            answers: BufReader::new(answers.context("it answers")?).lines(),
        })
    }

    async fn ping(&mut self) -> anyhow::Result<Duration> {
        self.ask.write_all(b"\n").await?;
        let nanos = self.answers.next_line().await?.context("the pinger ended")?;
        Ok(Duration::from_nanos(nanos.parse()?))
    }
}

/// Sends `PING` for each line that comes in; says how many nanoseconds it took.
///
/// # Errors
/// When Redis does not answer.
pub async fn ping(port: u16) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    for line in std::io::stdin().lines() {
        line?;
        let begun = Instant::now();
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).await?;
        println!("{}", begun.elapsed().as_nanos());
        ensure!(&pong == b"+PONG\r\n", "{pong:?}");
    }
    Ok(())
}
