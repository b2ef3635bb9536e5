//! How many instructions a quick call takes. Unlike times they are the same on a busy machine, and change only with the code.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::calls::echoes;
use crate::load::Client as _;
use crate::server::{Era, Server, Starter};

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

/// Runs the server under callgrind twice, with more calls the second time, so that its start does not count. What callgrind
/// wrote of the longer run goes to `keep`, for `callgrind_annotate`.
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
    let dir = tempfile::tempdir()?;
    std::fs::create_dir_all(keep)?;
    let kept = keep.canonicalize()?.join(format!("callgrind.{server:?}.{era:?}"));
    let few = total(starter, server, era, calls / 10, &dir.path().join("few")).await?;
    let many = total(starter, server, era, calls + calls / 10, &kept).await?;
    Ok(Instructions {
        server,
        era,
        each: (many - few) / calls as f64,
    })
}

/// All instructions of a run with this many calls.
async fn total(
    starter: &mut Starter,
    server: Server,
    era: Era,
    calls: usize,
    file: &Path,
) -> anyhow::Result<f64> {
    starter.under = ["valgrind", "--tool=callgrind", "--quiet"]
        .map(Into::into)
        .to_vec();
    starter
        .under
        .push(format!("--callgrind-out-file={}", file.display()));
    let running = starter.start(server).await;
    starter.under.clear();
    let mut running = running?;
    let mut clients = echoes(&running, server, era, 1).await?;
    for client in &mut clients {
        for _ in 0..calls {
            client.once().await?;
        }
    }
    drop(clients);
    running.process.stop().await?;
    read_total(file)
}

fn read_total(file: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(file).context("callgrind wrote nothing")?;
    let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(totals.context("no totals")?.trim().parse()?)
}
