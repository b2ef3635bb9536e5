//! Processes that a run starts: pinned to a core, watched from outside, gone when they are dropped.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a process may take until it listens. Callgrind slows it down fiftyfold.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running process that listens on a port.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: u32,
    /// The port it listens on.
    pub port: u16,
    log: PathBuf,
    /// Where it keeps its files, as long as it lives. The child is killed first, because it stands first.
    _dir: tempfile::TempDir,
}

/// How long the threads of a process have run, in nanoseconds of one core.
///
/// # Errors
/// When it has ended.
pub fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(sum)
}

/// A command whose process runs on this core.
#[must_use]
pub fn pinned(core: usize, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// A port that nobody uses now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Process {
    /// Starts the command, and waits until it listens on the port.
    ///
    /// # Errors
    /// When it ends, or does not listen in time; with the end of its log.
    pub async fn start(mut command: Command, port: u16) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let errors = fs::File::create(&log)?;
        let child = command
            .current_dir(dir.path())
            .stdin(std::process::Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        // `taskset` becomes the program, so the process is the one to watch.
        let pid = child.id().context("it has ended")?;
        let mut process = Self {
            child,
            pid,
            port,
            log,
            _dir: dir,
        };
        let deadline = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if process.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{command:?} does not listen:\n{}", process.last_words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(process)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The end of what it has written.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How long its threads have run, in nanoseconds of one core. Threads that have ended do not count.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_ns(&self) -> anyhow::Result<u64> {
        cpu_ns(self.pid)
    }

    /// The memory it has in use, in KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
        Ok(kib.parse()?)
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// When it has to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").arg(self.pid.to_string()).status().await?;
        if asked.success()
            && tokio::time::timeout(STARTS_WITHIN, self.child.wait())
                .await
                .is_ok()
        {
            return Ok(());
        }
        bail!("it did not stop:\n{}", self.last_words())
    }
}

/// Starts a Redis server without persistence on this core.
///
/// # Errors
/// When it cannot be started.
pub async fn redis(core: usize) -> anyhow::Result<Process> {
    let port = free_port()?;
    let mut command = pinned(core, "redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    Process::start(command, port).await
}
