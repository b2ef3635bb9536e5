//! How many instructions a quick call takes. Unlike times they are the same on a busy machine, and change only with the code.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::process::Command;

use super::calls::echoes;
use crate::load::Client as _;
use crate::server::{Era, Server, Starter};

/// From these valgrind and its vgdb make up the name of the pipe between them; not all servers are given the user's own.
const PIPE: [(&str, &str); 2] = [("LOGNAME", "side-by-side"), ("HOST", "localhost")];

/// What a server needs for one call, in user space.
#[derive(Debug, Serialize)]
pub struct Instructions {
    /// The server.
    pub server: Server,
    /// How it was asked.
    pub era: Era,
    /// Instructions for each call.
    pub each: f64,
}

/// Whether they can be counted here.
#[must_use]
pub fn can_be_counted() -> bool {
    std::process::Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok()
}

/// Runs the server under callgrind, and counts from call `calls / 10` on, when it has started and is warm: what a start takes
/// varies by more than many calls take. What callgrind wrote goes to `keep`, for `callgrind_annotate`.
///
/// # Errors
/// When callgrind is missing, or a call fails.
pub async fn measure(
    starter: &mut Starter,
    server: Server,
    era: Era,
    calls: usize,
    keep: &Path,
) -> anyhow::Result<Instructions> {
    std::fs::create_dir_all(keep)?;
    let kept = keep.canonicalize()?.join(format!("callgrind.{server:?}.{era:?}"));
    let environment = PIPE.map(|(name, value)| format!("{name}={value}"));
    let callgrind = ["valgrind", "--tool=callgrind", "--quiet"].map(Into::into);
    starter.under = ["env".into()]
        .into_iter()
        .chain(environment)
        .chain(callgrind)
        .collect();
    starter
        .under
        .push(format!("--callgrind-out-file={}", kept.display()));
    let running = starter.start(server).await;
    starter.under.clear();
    let mut running = running?;
    let pid = running.process.pid();
    let mut clients = echoes(&running, server, era, 1).await?;
    let client = clients.first_mut().context("no client")?;
    for _ in 0..calls / 10 {
        client.once().await?;
    }
    command("zero", pid).await?;
    for _ in 0..calls {
        client.once().await?;
    }
    command("dump", pid).await?;
    drop(clients);
    running.process.stop().await?;
    // Callgrind numbers what it writes before the end, at which it writes the file itself: what came after.
    std::fs::rename(kept.with_added_extension("1"), &kept).context("callgrind wrote nothing")?;
    Ok(Instructions {
        server,
        era,
        each: read_total(&kept)? / calls as f64,
    })
}

/// Tells the callgrind under which that process runs to do something.
async fn command(what: &str, pid: u32) -> anyhow::Result<()> {
    let told = Command::new("vgdb")
        .envs(PIPE)
        .args([&format!("--pid={pid}"), what])
        .output()
        .await
        .context("vgdb")?;
    let words = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "vgdb {what}: {words}");
    Ok(())
}

fn read_total(file: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(file)?;
    let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(totals.context("no totals")?.trim().parse()?)
}
