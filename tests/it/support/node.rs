//! A node as its users run it: the built binary, a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, Signal, eventually, free_port, within};
use crate::support::http::{http_client, http_get};

/// Another test may take the port between choosing and binding.
const STARTS_MAX: usize = 5;
/// The drain by default: a delay of 3 s and a deadline of 25 s, and some to spare.
const END_PATIENCE: Duration = Duration::from_secs(40);

/// How to start a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeOptions {
    /// `REDIS_URL`; none for the in-memory store.
    pub(crate) redis_url: Option<String>,
    /// The port; none for a free one.
    pub(crate) port: Option<u16>,
    /// More environment. The last of a name counts, and all of it comes after what [`Node::start`] sets.
    pub(crate) env: Vec<(String, String)>,
    /// Arguments.
    pub(crate) arguments: Vec<String>,
}

impl NodeOptions {
    /// A node on this Redis.
    pub(crate) fn on(redis_url: impl Into<String>) -> Self {
        Self {
            redis_url: Some(redis_url.into()),
            ..Self::default()
        }
    }

    /// The same with one more environment variable.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same on this port.
    #[must_use]
    pub(crate) const fn at(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The same with one more argument.
    #[must_use]
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// An example of this repository, built.
pub(crate) fn example(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_mcp-server"))
        .with_file_name("examples")
        .join(name);
    assert!(
        program.exists(),
        "{} is missing: cargo build --all-features --examples",
        program.display()
    );
    program
}

/// A running `mcp-server`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    id: String,
    port: u16,
    /// Whether clients speak TLS to it.
    secure: bool,
    /// Whether it asks this machine's connections for more than a request.
    asks_first: bool,
    process: Mutex<Process>,
    _dir: TempDir,
}

impl Node {
    /// Starts one, on a free port unless the options name one, and waits until `GET /livez` answers 200.
    /// Fails the test with its log otherwise.
    ///
    /// It gets no environment but `MCP_HTTP__CONNECTIONS_MAX`, `PORT`, `HOST`, `NODE_ID` (`node-<port>`),
    /// `REDIS_URL` and `options.env`.
    pub(crate) async fn start(options: &NodeOptions) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_mcp-server")), options).await
    }

    /// The same of another program that takes the same settings.
    pub(crate) async fn start_program(program: &Path, options: &NodeOptions) -> Self {
        for _ in 0..STARTS_MAX {
            let node = Self::spawn_program(program, options);
            let http = http_client().build().expect("a client");
            let live = eventually("the node answers /livez", || async {
                if node.ended() {
                    return Some(false);
                }
                if node.asks_first {
                    // The test finds out who is let in.
                    return node.log().contains("listens on").then_some(true);
                }
                let answer = http.get(format!("{}/livez", node.url())).send().await;
                answer.ok()?.status().is_success().then_some(true)
            })
            .await;
            if live {
                return node;
            }
            let log = node.log();
            assert!(log.contains("in use"), "the node ended at once. It said:\n{log}");
        }
        panic!("no port could be had for a node");
    }

    /// Starts one without waiting for anything, for tests of nodes that must not start.
    pub(crate) fn spawn(options: &NodeOptions) -> Self {
        Self::spawn_program(Path::new(env!("CARGO_BIN_EXE_mcp-server")), options)
    }

    fn spawn_program(program: &Path, options: &NodeOptions) -> Self {
        let port = options.port.unwrap_or_else(free_port);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let id = options
            .env
            .iter()
            .rfind(|(name, _)| name == "NODE_ID")
            .map_or_else(|| format!("node-{port}"), |(_, value)| value.clone());
        let mut command = Command::new(program);
        command
            .args(&options.arguments)
            .current_dir(dir.path())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .env("HOST", "127.0.0.1")
            // More than any test needs, and less than many machines allow: else each node warns of that.
            .env("MCP_HTTP__CONNECTIONS_MAX", "15000")
            .env("PORT", port.to_string())
            .env("NODE_ID", &id)
            .envs(options.redis_url.iter().map(|url| ("REDIS_URL", url)))
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        let has = |name| options.env.iter().any(|(set, _)| set == name);
        let secure = has("MCP_TLS__CERT_FILE");
        Self {
            id,
            port,
            secure,
            asks_first: secure || has("MCP_HTTP__PROXY_PROTOCOL"),
            process: Mutex::new(Process::spawn(command, &dir.path().join("log"), "cargo build")),
            _dir: dir,
        }
    }

    /// `http://127.0.0.1:<port>`, with TLS `https://…`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its `NODE_ID`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.lock().id()
    }

    /// How much of it is resident in memory, in KiB (Linux' `VmRSS`).
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process_id());
        let status = std::fs::read_to_string(&path).expect("Linux says how large a process is");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|text| text.parse().ok()).expect("VmRSS in KiB")
    }

    /// How many sockets it has open.
    pub(crate) fn sockets(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process_id());
        let files = std::fs::read_dir(&path).expect("Linux says what a process has open");
        let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        links
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Everything it printed so far, on stdout and stderr.
    pub(crate) fn log(&self) -> String {
        self.lock().log()
    }

    /// Whether the process has ended.
    pub(crate) fn ended(&self) -> bool {
        self.lock().ended().is_some()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill9(&self) {
        self.lock().signal(Signal::Kill);
        self.end().await;
    }

    /// SIGTERM. Returns at once: the node drains now, and [`Self::end`] waits for it.
    pub(crate) fn terminate(&self) {
        self.lock().signal(Signal::Terminate);
    }

    /// SIGHUP: it reads its files again, and opens its audit log again.
    pub(crate) fn hang_up(&self) {
        self.lock().signal(Signal::Hangup);
    }

    /// The sum of the lines of a metric that begin so.
    pub(crate) async fn metric(&self, begins: &str) -> f64 {
        let answer = http_get(format!("{}/metrics", self.url()))
            .await
            .expect("an answer");
        let text = answer.text().await.expect("text");
        let lines = text.lines().filter(|line| line.starts_with(begins));
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Freezes it: its connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.lock().signal(Signal::Stop);
    }

    /// Ends [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.lock().signal(Signal::Continue);
    }

    /// Waits until the process has ended; a drain may take its whole deadline.
    pub(crate) async fn end(&self) -> ExitStatus {
        within(END_PATIENCE, "the end of the node", || async {
            self.lock().ended()
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        self.process
            .lock()
            .expect("no test panicked while holding a node")
    }
}
