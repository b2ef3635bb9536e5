//! Child processes that end with the test, free ports, and waiting for conditions.

use std::fs::File;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition may take to come true before the test fails. Generous: it costs nothing when things
/// work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// With the buses below Linux' range for outgoing connections (32768 and up), so that none of those takes a
/// port meanwhile.
const PORTS: std::ops::Range<u16> = 11_000..21_000;
/// Where a Redis cluster has its bus.
const BUS_ABOVE: u16 = 10_000;

/// Waits until `condition` gives a value; fails the test with `what` when it takes longer than [`PATIENCE`].
pub(crate) async fn eventually<T, F, Fut>(what: &str, condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(PATIENCE, what, condition).await
}

/// The same with another patience.
pub(crate) async fn within<T, F, Fut>(patience: Duration, what: &str, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until `done`; fails the test with `what` when it takes longer than [`PATIENCE`].
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// HTTP clients ask for cryptography when they are made, also to speak plain HTTP. Every test comes here before it makes
/// one.
pub(crate) fn know_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A port of 127.0.0.1 for this process alone, with one for the bus of a Redis cluster 10,000 above.
///
/// Tests run in processes of their own, at once. So a port is claimed by a lock on a file, which the system
/// lets go of when the process ends. Other programs know of no claims: what listens there may still find it
/// taken.
pub(crate) fn free_port() -> u16 {
    static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    know_tls();
    let dir = std::env::temp_dir().join("anynode-it-ports");
    std::fs::create_dir_all(&dir).expect("a directory for claims");
    let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..1000 {
        let port = rand::random_range(PORTS);
        let claim = File::create(dir.join(port.to_string())).expect("a file for a claim");
        if claim.try_lock().is_ok() && free(port) && free(port + BUS_ABOVE) {
            CLAIMED.lock().expect("no test panics here").push(claim);
            return port;
        }
    }
    panic!("no port of 127.0.0.1 is free");
}

/// A signal that a test sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// SIGKILL
    Kill,
    /// SIGTERM
    Terminate,
    /// SIGINT, as Ctrl-C sends it
    Interrupt,
    /// SIGSTOP
    Stop,
    /// SIGCONT
    Continue,
    /// SIGHUP
    Hangup,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::Hangup => "HUP",
        }
    }
}

/// A child process, killed when dropped. What it prints goes to a file.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with stdout and stderr going to `log`. `install` says how to get a missing program.
    pub(crate) fn spawn(mut command: Command, log: &Path, install: &str) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file opens");
        let copy = file.try_clone().expect("the log file can be shared");
        command.stdout(file).stderr(copy);
        Self::spawn_writing(command, log, install)
    }

    /// The same for a command that has its stdout and stderr already; `log` is the file of one of them.
    pub(crate) fn spawn_writing(mut command: Command, log: &Path, install: &str) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run `{name}`: {error}. This test needs it: {install}");
        });
        Self {
            child,
            name,
            log: log.into(),
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id();
        // The shell's own `kill`: the program of that name is not everywhere.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{} {id}", signal.name())])
            .stderr(Stdio::null())
            .status()
            .expect("sh runs");
        assert!(
            status.success(),
            "{} (process {id}) is not there to be sent SIG{}. It said:\n{}",
            self.name,
            signal.name(),
            self.log(),
        );
    }

    /// Waits until it has ended by itself, or by a signal.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let what = format!("the end of {} (process {})", self.name, self.id());
        within(PATIENCE, &what, || std::future::ready(self.ended())).await
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::Kill);
            self.end().await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
