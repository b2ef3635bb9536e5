//! A real Redis of the test's own.

use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{PATIENCE, Process, Signal, eventually, free_port};
use super::ttl::assert_that_all_keys_end;

const INSTALL: &str = "apt-get install redis-server, or run `make setup`";
/// Another test may take the port between choosing and binding.
const STARTS_MAX: usize = 5;

/// What Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// No such thing.
    Nil,
    /// A number.
    Int(i64),
    /// A simple or bulk string.
    Text(String),
    /// Several answers.
    List(Vec<Reply>),
    /// An error, such as `WRONGTYPE ...`.
    Error(String),
}

impl Reply {
    /// The text, of text or number; fails the test for anything else.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            other => panic!("expected text of Redis, got {other:?}"),
        }
    }

    /// The number; fails the test for anything else.
    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => panic!("expected a number of Redis, got {other:?}"),
        }
    }

    /// The texts of a list, such as that of `KEYS`; fails the test for anything else.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.iter().map(Self::text).collect(),
            other => panic!("expected a list of Redis, got {other:?}"),
        }
    }
}

/// A `redis-server` on a free port with an empty directory, killed when dropped.
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

    /// The same with more arguments for `redis-server`, such as `["--maxmemory", "10mb"]`.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..STARTS_MAX {
            let redis = Self {
                port: free_port(),
                dir: tempfile::tempdir().expect("a temporary directory"),
                arguments: arguments.iter().map(ToString::to_string).collect(),
                process: Mutex::new(None),
            };
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

    /// `redis://127.0.0.1:<port>`
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it in good order: clients see their connections closed. Everything in it is lost.
    pub(crate) async fn stop(&self) {
        let process = self.lock().take();
        let mut process = process.expect("Redis is running");
        process.signal(Signal::Terminate);
        process.end().await;
    }

    /// `kill -9`. Everything in it is lost.
    pub(crate) async fn kill(&self) {
        let process = self.lock().take();
        process.expect("Redis is running").kill().await;
    }

    /// Starts it again, empty, on the same port; kills it first when it is running.
    pub(crate) async fn restart(&self) {
        let process = self.lock().take();
        if let Some(mut process) = process {
            process.kill().await;
        }
        self.spawn();
        assert!(
            self.answers().await,
            "redis-server ended at once:\n{}",
            self.log()
        );
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

    async fn ask(&self, words: &[&str]) -> std::io::Result<Reply> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes()).await?;
        read_reply(&mut stream).await
    }

    fn spawn(&self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.arguments);
        *self.lock() = Some(Process::spawn(command, &self.dir.path().join("log"), INSTALL));
    }

    /// Waits for an answer to PING, or for the process to end.
    async fn answers(&self) -> bool {
        eventually("redis-server answers", || async {
            if self
                .lock()
                .as_mut()
                .is_none_or(|process| process.ended().is_some())
            {
                return Some(false);
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

/// Reads one RESP 2 answer.
async fn read_reply(stream: &mut BufReader<TcpStream>) -> std::io::Result<Reply> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let number = || -> i64 { rest.parse().unwrap_or_else(|_| panic!("not RESP: {line}")) };
    Ok(match kind {
        "+" => Reply::Text(rest.into()),
        "-" => Reply::Error(rest.into()),
        ":" => Reply::Int(number()),
        "$" => match usize::try_from(number()) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        "*" => match usize::try_from(number()) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut list = Vec::with_capacity(length);
                for _ in 0..length {
                    list.push(Box::pin(read_reply(stream)).await?);
                }
                Reply::List(list)
            }
        },
        _ => panic!("not RESP: {line}"),
    })
}
