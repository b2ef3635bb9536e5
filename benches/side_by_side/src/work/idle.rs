//! Streams on which nothing happens: the memory that each takes, with its session and its connection.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::http::Connection;
use crate::mcp::{self, Caller};
use crate::server::{Server, Starter};

/// How many clients come at once.
const AT_ONCE: usize = 16;
/// How long the server may take to put away what opening a stream took.
const SETTLES_IN: Duration = Duration::from_secs(1);

/// What they take.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// The server.
    pub server: Server,
    /// How many streams there were.
    pub streams: usize,
    /// Memory for each session, in bytes.
    pub session_bytes: f64,
    /// Memory for each stream with its connection, in bytes.
    pub stream_bytes: f64,
}

/// Opens sessions, then a standalone stream for each.
///
/// # Errors
/// When one cannot be opened.
pub async fn measure(starter: &Starter, server: Server, streams: usize) -> anyhow::Result<Idle> {
    let needed = u64::try_from(streams)? + 1000;
    let allowed = rlimit::increase_nofile_limit(needed)?;
    anyhow::ensure!(
        allowed >= needed,
        "{needed} open files are needed, {allowed} allowed: see ulimit -Hn"
    );
    let running = starter.start(server).await?;
    let port = running.process.port;
    // What the first client takes is taken once.
    let mut connection = Connection::open(port).await?;
    let first = mcp::initialize(&mut connection).await?;
    connection.listen(&first.bare("GET", "")).await?;
    drop(connection);
    tokio::time::sleep(SETTLES_IN).await;
    let before = running.process.resident_kib()?;
    let mut connections = Vec::new();
    for _ in 0..AT_ONCE {
        connections.push(Connection::open(port).await?);
    }
    let callers: Vec<Vec<Caller>> = futures::stream::iter(connections)
        .map(|mut connection| async move {
            let mut callers = Vec::new();
            for _ in 0..streams / AT_ONCE {
                callers.push(mcp::initialize(&mut connection).await?);
            }
            anyhow::Ok(callers)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let callers: Vec<_> = callers.into_iter().flatten().collect();
    tokio::time::sleep(SETTLES_IN).await;
    let with_sessions = running.process.resident_kib()?;
    let open: Vec<_> = futures::stream::iter(&callers)
        .map(|caller| async move {
            let mut connection = Connection::open(port).await?;
            connection.listen(&caller.bare("GET", "")).await?;
            anyhow::Ok(connection.idle())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    tokio::time::sleep(SETTLES_IN).await;
    let with_streams = running.process.resident_kib()?;
    let each = |kib: u64| kib as f64 * 1024.0 / open.len() as f64;
    Ok(Idle {
        server,
        streams: open.len(),
        session_bytes: each(with_sessions.saturating_sub(before)),
        stream_bytes: each(with_streams.saturating_sub(with_sessions)),
    })
}
