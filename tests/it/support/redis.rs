//! Real Redis servers of the test's own, alone, behind sentinels, or as a cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard};

use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{PATIENCE, Process, Signal, eventually, free_port};
use super::ttl::assert_that_all_keys_end;

pub(crate) mod certificates;
mod resp;
pub(crate) mod rights;
pub(crate) mod topology;

pub(crate) use resp::Reply;

const INSTALL: &str = "apt-get install redis-server, or run `make setup`";
/// Another program may take the port between choosing and binding.
const STARTS_MAX: usize = 5;
/// What makes a server keep every write on disk before it answers.
const LASTING: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// A `redis-server` on a port and in a directory of its own, killed when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Redis {
    /// Starts one that keeps nothing on disk, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one that keeps everything on disk: what it held is there again after [`Self::restart`].
    pub(crate) async fn lasting() -> Self {
        Self::start_with(&LASTING).await
    }

    /// Starts one with more arguments for `redis-server`, such as `["--maxmemory", "10mb"]`; `{dir}` stands
    /// for its directory, `{port}` for its port.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..STARTS_MAX {
            let redis = Self::prepare(arguments);
            redis.spawn();
            if redis.answers().await {
                return redis;
            }
            let log = redis.log();
            assert!(
                log.contains("Address already in use"),
                "redis-server ended at once:\n{log}"
            );
        }
        panic!("no port could be had for redis-server");
    }

    /// One that is not running yet, with arguments as [`Self::start_with`] takes them.
    pub(crate) fn prepare(arguments: &[&str]) -> Self {
        Self::prepare_on(free_port(), arguments)
    }

    /// The same on a port that is known already.
    pub(crate) fn prepare_on(port: u16, arguments: &[&str]) -> Self {
        let base = [
            "--bind",
            "127.0.0.1",
            "--dir",
            "{dir}",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let mut redis = Self::bare(port);
        if !arguments.contains(&"--port") {
            redis.add_arguments(&["--port", "{port}"]);
        }
        redis.add_arguments(&base);
        // Redis takes its users from a file or from its arguments.
        if !arguments.contains(&"--aclfile") {
            redis.arguments.extend(rights::arguments());
        }
        redis.add_arguments(arguments);
        redis
    }

    /// One without any argument yet.
    fn bare(port: u16) -> Self {
        Self {
            port,
            dir: tempfile::tempdir().expect("a temporary directory"),
            arguments: Vec::new(),
            process: Mutex::new(None),
        }
    }

    /// Adds arguments to one that is not running yet.
    pub(crate) fn add_arguments(&mut self, arguments: &[&str]) {
        let (dir, port) = (self.dir.path().display().to_string(), self.port.to_string());
        let arguments = arguments
            .iter()
            .map(|argument| argument.replace("{dir}", &dir).replace("{port}", &port));
        self.arguments.extend(arguments);
    }

    /// `redis://…@127.0.0.1:<port>`, for the user that is recommended.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}", login(), self.port)
    }

    /// The port it listens on.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Ends it in good order: clients see their connections closed. What it does not keep on disk is lost.
    pub(crate) async fn stop(&self) {
        let process = self.lock().take();
        let mut process = process.expect("Redis is running");
        process.signal(Signal::Terminate);
        process.end().await;
    }

    /// `kill -9`. What it does not keep on disk is lost.
    pub(crate) async fn kill(&self) {
        let process = self.lock().take();
        process.expect("Redis is running").kill().await;
    }

    /// Starts it, with what it kept on disk, and waits until it answers.
    pub(crate) async fn run(&self) {
        self.spawn();
        assert!(
            self.answers().await,
            "redis-server ended at once:\n{}",
            self.log()
        );
    }

    /// Starts it again on the same port, empty unless it keeps things on disk; kills it first when it is
    /// running.
    pub(crate) async fn restart(&self) {
        let process = self.lock().take();
        if let Some(mut process) = process {
            process.kill().await;
        }
        self.run().await;
    }

    /// Freezes it: connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::Stop);
    }

    /// Ends [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.signal(Signal::Continue);
    }

    /// Sends one command on a connection of its own.
    pub(crate) async fn command(&self, words: &[&str]) -> Reply {
        timeout(PATIENCE, self.ask(words))
            .await
            .unwrap_or_else(|_| panic!("Redis did not answer {words:?}"))
            .unwrap_or_else(|error| panic!("Redis could not be asked {words:?}: {error}"))
    }

    /// The keys that match a pattern, sorted.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys = self.command(&["KEYS", pattern]).await.texts();
        keys.sort();
        keys
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    async fn ask(&self, words: &[&str]) -> std::io::Result<Reply> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes()).await?;
        resp::read_reply(&mut stream).await
    }

    fn spawn(&self) {
        let mut command = Command::new("redis-server");
        command.args(&self.arguments);
        *self.lock() = Some(Process::spawn(command, &self.path("log"), INSTALL));
    }

    /// Waits for an answer to PING, or for the process to end.
    async fn answers(&self) -> bool {
        // One that speaks TLS only is up when it accepts connections.
        let tls = self.arguments.iter().any(|argument| argument == "--tls-port");
        eventually("redis-server answers", || async {
            if self
                .lock()
                .as_mut()
                .is_none_or(|process| process.ended().is_some())
            {
                return Some(false);
            }
            if tls {
                let connected = TcpStream::connect(("127.0.0.1", self.port)).await;
                return connected.ok().map(|_| true);
            }
            // An error is an answer too, such as NOAUTH.
            self.ask(&["PING"]).await.ok().map(|_| true)
        })
        .await
    }

    fn signal(&self, signal: Signal) {
        self.lock().as_ref().expect("Redis is running").signal(signal);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().expect("no test panicked while holding Redis")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Ok(Some(process)) = self.process.get_mut().map(Option::as_mut)
            && process.ended().is_none()
        {
            // It may be frozen.
            process.signal(Signal::Continue);
            assert_that_all_keys_end(self.port);
        }
    }
}

/// What stands in a URL before the host: the user that is recommended.
fn login() -> String {
    format!("{}:{}@", rights::USER, rights::PASSWORD)
}

/// What `redis-cli` prints when it talks to the server on `port`.
pub(crate) fn cli(port: u16, arguments: &[&str]) -> String {
    text(&redis_cli(&[&["-p", &port.to_string()], arguments].concat()))
}

fn redis_cli(arguments: &[&str]) -> Output {
    let output = Command::new("redis-cli").args(arguments).output();
    output.unwrap_or_else(|error| panic!("cannot run `redis-cli`: {error}. This test needs it: {INSTALL}"))
}

fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}
