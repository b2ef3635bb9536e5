//! What the servers written here share: a port from the environment, and the same allocator and socket options that
//! anynode has, so that none of them is slower for what is not its own.

use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use serde::Deserialize;

/// anynode's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What `echo` takes.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub struct Echo {
    /// What to say back.
    pub text: String,
}

/// What `countdown` takes.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub struct Countdown {
    /// How many steps to count down, each of which is told as progress.
    pub from: u32,
    /// How long each step takes, in milliseconds.
    pub interval_ms: u64,
}

impl Countdown {
    /// The pause before a step, as anynode's own countdown has it: none at all when none is asked for.
    pub async fn pause(&self) {
        match self.interval_ms {
            0 => tokio::task::yield_now().await,
            interval_ms => tokio::time::sleep(Duration::from_millis(interval_ms)).await,
        }
    }
}

/// Serves `routes` on the port that `PORT` names, on this machine only.
///
/// # Errors
/// When there is no such port, or it is taken.
pub async fn serve(routes: Router) -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    // Without TCP_NODELAY an event waits up to 40 ms for the client's acknowledgement of the one before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            eprintln!("TCP_NODELAY was not set: {error}");
        }
    });
    axum::serve(listener, routes).await?;
    Ok(())
}
