//! Which core serves and which one loads. On one core they would take turns, and the figures would be the load's as well.

use std::process::Command;

use anyhow::{Context as _, bail};

/// The cores of a run.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// Where the measured servers run, all their threads.
    pub server: usize,
    /// Where the load and Redis run.
    pub load: usize,
}

impl Cores {
    /// The first and the last core that this process may use. Moves this process to the last one; call it before there
    /// are other threads.
    ///
    /// # Errors
    /// When there is only one, or `taskset` is missing.
    pub fn take() -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("/proc/self/status names no cores: this needs Linux")?;
        let all = parse(allowed.trim())?;
        let (Some(&server), Some(&load)) = (all.first(), all.last()) else {
            bail!("no cores in {allowed:?}");
        };
        if server == load {
            bail!(
                "two cores are needed, one for servers and one for the load; this process may use only one"
            );
        }
        let moved = Command::new("taskset")
            .args(["-pc", &load.to_string(), &std::process::id().to_string()])
            .output()
            .context("taskset is missing: it is part of util-linux")?;
        if !moved.status.success() {
            bail!("taskset: {}", String::from_utf8_lossy(&moved.stderr));
        }
        Ok(Self { server, load })
    }
}

/// Reads a list such as `0-3,8`.
fn parse(list: &str) -> anyhow::Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(parse("0").unwrap(), [0]);
        assert_eq!(parse("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert!(parse("a").is_err());
    }
}
