//! Others who bring tokens that nobody knows, and are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::http::Connection;
use crate::issuer::{Issuer, random_text};
use crate::mcp::{Caller, Numbered};
use crate::server::Era;

/// How many bad tokens there are a second, at a steady pace.
pub const PER_SECOND: u32 = 2000;
/// How many connections they come on.
const CONNECTIONS: u32 = 8;
/// How many there are of each kind. They come again, but nothing of them is kept.
const OF_EACH_KIND: usize = 100;
/// As long as the name of the issuer's key.
const KEY_NAME_BYTES: usize = 5;

/// Some that are no JWTs, some that name a key that is not there, and some that are verified and found false; all as long.
///
/// # Errors
/// When nothing is random.
pub fn bad_tokens(issuer: &Issuer, length: usize) -> anyhow::Result<Vec<String>> {
    let mut tokens = Vec::with_capacity(3 * OF_EACH_KIND);
    for _ in 0..OF_EACH_KIND {
        tokens.push(random_text(length)?);
        tokens.push(issuer.forged(&random_text(KEY_NAME_BYTES)?, "user00000")?);
        tokens.push(issuer.forged("key-1", "user00000")?);
    }
    Ok(tokens)
}

/// Requests with such tokens, from when it is made until it ends or is dropped.
pub struct Flood {
    tasks: JoinSet<anyhow::Result<()>>,
    refused: Arc<AtomicU64>,
    since: Instant,
}

impl Flood {
    /// Begins, with so many a second, or as many as are answered.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn start(port: u16, tokens: &[String], per_second: Option<u32>) -> anyhow::Result<Self> {
        let (mut tasks, refused) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
        let every = per_second.map(|rate| Duration::from_secs(1) * CONNECTIONS / rate);
        for number in 0..CONNECTIONS as usize {
            let mut mine = tokens.to_vec();
            mine.rotate_left(number * tokens.len() / CONNECTIONS as usize);
            let connection = Connection::open(port).await?;
            tasks.spawn(bring(connection, mine, every, Arc::clone(&refused)));
        }
        Ok(Self {
            tasks,
            refused,
            since: Instant::now(),
        })
    }

    /// Ends it, and tells how many were refused each second.
    ///
    /// # Errors
    /// When one was not refused, or not answered.
    pub fn end(mut self) -> anyhow::Result<f64> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        Ok(self.refused.load(Ordering::Relaxed) as f64 / self.since.elapsed().as_secs_f64())
    }
}

/// Brings one after another; one that is late does not make the next ones late.
async fn bring(
    mut connection: Connection,
    tokens: Vec<String>,
    every: Option<Duration>,
    refused: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let first = tokens.first().cloned();
    let mut call: Numbered = Caller::without_session(Era::Modern)
        .with_token(first.clone())
        .echo();
    let at = first.and_then(|token| call.position(&token)).unwrap_or_default();
    let mut ticks = every.map(tokio::time::interval);
    for token in tokens.iter().cycle() {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        call.write(at, token);
        let status = connection.exchange(call.next().1).await?.head.status;
        ensure!(matches!(status, 401 | 429), "a bad token: status {status}");
        refused.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
