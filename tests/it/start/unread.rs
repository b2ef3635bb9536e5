//! Standard error and standard output that are full, broken, closed or never read: a node lives on, and
//! commands end as they should.

use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _, pipe};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::{Process, Signal, eventually, free_port, within};
use crate::support::program::Program;
use crate::support::redis::Redis;

/// What a pipe holds on Linux until somebody reads it.
const PIPE_BYTES: usize = 64 * 1024;
/// How long it may take to log more than a node keeps.
const FILLED_WITHIN: Duration = Duration::from_secs(60);

/// What becomes of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// There is no room: `/dev/full`.
    Full,
    /// The reader is gone: a broken pipe.
    Gone,
    /// It is a pipe that has no room left, and nobody reads it.
    Unread,
    /// It was closed before the program started.
    Closed,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Full, Self::Gone, Self::Unread, Self::Closed];

    /// Something to write to, and what must be kept so that it stays so.
    fn end(self) -> (OwnedFd, Option<PipeReader>) {
        if matches!(self, Self::Full | Self::Closed) {
            let full = File::options().write(true).open("/dev/full");
            return (full.expect("/dev/full opens").into(), None);
        }
        let (reader, mut writer) = pipe().expect("a pipe");
        if self == Self::Unread {
            writer
                .write_all(&[b' '; PIPE_BYTES])
                .expect("it has room for so much");
        }
        (writer.into(), (self == Self::Unread).then_some(reader))
    }
}

/// A run of `mcp-server` whose standard output and error fare so.
struct Run {
    process: Mutex<Process>,
    _readers: [Option<PipeReader>; 2],
    _dir: TempDir,
}

impl Run {
    fn start(fate: Fate, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let program = env!("CARGO_BIN_EXE_mcp-server");
        let mut command = if fate == Fate::Closed {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", r#"exec "$0" "$@" >&- 2>&-"#, program]);
            shell
        } else {
            Command::new(program)
        };
        let ((stdout, out), (stderr, err)) = (fate.end(), fate.end());
        Self::spawn(
            command.args(arguments).stdout(stdout).stderr(stderr),
            env,
            [out, err],
        )
    }

    fn spawn(command: &mut Command, env: &[(&str, &str)], readers: [Option<PipeReader>; 2]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        command
            .current_dir(dir.path())
            .env_clear()
            .env("HOST", "127.0.0.1")
            .envs(env.iter().copied());
        let command = std::mem::replace(command, Command::new("true"));
        let process = Process::spawn_writing(command, &dir.path().join("none"), "cargo build");
        Self {
            process: Mutex::new(process),
            _readers: readers,
            _dir: dir,
        }
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.process.lock().expect("no panic so far").ended()
    }

    fn terminate(&self) {
        self.process
            .lock()
            .expect("no panic so far")
            .signal(Signal::Terminate);
    }

    /// The exit code, once it has ended; none when a signal ended it.
    async fn code(&self, what: &str) -> Option<i32> {
        eventually(what, async || self.ended()).await.code()
    }

    /// Waits until it serves there.
    async fn serves(&self, url: &str) {
        let what = format!("a node serves at {url}");
        eventually(&what, async || {
            assert_eq!(self.ended(), None, "the node ended");
            (get(url, "/livez").await?.0 == 200).then_some(())
        })
        .await;
    }
}

async fn get(url: &str, path: &str) -> Option<(u16, String)> {
    let answer = http_get(format!("{url}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

async fn dropped(url: &str) -> u64 {
    let (_, metrics) = get(url, "/metrics").await.expect("metrics");
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix("anynode_log_lines_dropped_total "));
    line.expect("it is always there").parse().expect("a number")
}

/// Has a node log until lines are dropped.
async fn fill(url: &str) {
    let client = Client::legacy(url);
    let until_dropped = async || {
        join_all((0..32).map(|_| async { client.initialize().await.ok() })).await;
        (dropped(url).await > 0).then_some(())
    };
    within(FILLED_WITHIN, "lines are dropped", until_dropped).await;
}

/// A node of these logs, and where it is.
async fn node(fate: Fate, level: &str) -> (Run, String) {
    let port = free_port().to_string();
    let run = Run::start(fate, &[], &[("PORT", &port), ("MCP_LOG__LEVEL", level)]);
    let url = format!("http://127.0.0.1:{port}");
    run.serves(&url).await;
    (run, url)
}

/// Has the node serve all that it serves, then stop, with exit code 0.
async fn serves_and_stops(run: &Run, url: &str, what: &str) {
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(
            get(url, path).await.map(|(status, _)| status),
            Some(200),
            "{what}: {path}"
        );
    }
    let client = Client::legacy(url);
    assert_eq!(client.call("echo", json!({"text": "a"})).await.ok().text(), "a");
    run.terminate();
    assert_eq!(run.code(what).await, Some(0), "{what}");
}

/// F1, F2: neither its greeting nor its logs end a node or hold it up, wherever they go.
#[tokio::test]
async fn a_node_lives_on_whatever_becomes_of_what_it_writes() {
    for fate in Fate::ALL {
        let what = format!("a node whose output is {fate:?}");
        let (run, url) = node(fate, "debug").await;
        for _ in 0..20 {
            Client::legacy(&url).initialize().await.ok();
        }
        if matches!(fate, Fate::Full | Fate::Gone) {
            eventually(&what, async || (dropped(&url).await > 0).then_some(())).await;
        }
        serves_and_stops(&run, &url, &what).await;
    }
}

/// F2: a pipe that nobody reads fills up, and so does the queue; lines are dropped and counted, nothing
/// waits.
#[tokio::test]
async fn a_node_outlives_a_log_that_nobody_reads() {
    let (run, url) = node(Fate::Unread, "trace").await;
    fill(&url).await;
    serves_and_stops(&run, &url, "a node whose log nobody reads").await;
}

/// F2: once the log is read again, it says how many lines are missing.
#[tokio::test]
async fn a_log_says_how_many_lines_it_lacks() {
    let port = free_port().to_string();
    let (mut reader, writer) = pipe().expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-server"));
    command
        .stdout(File::create("/dev/null").expect("it opens"))
        .stderr(writer);
    let run = Run::spawn(
        &mut command,
        &[("PORT", &port), ("MCP_LOG__LEVEL", "trace")],
        [None, None],
    );
    drop(command);
    let url = format!("http://127.0.0.1:{port}");
    run.serves(&url).await;
    fill(&url).await;
    let read = tokio::task::spawn_blocking(move || {
        let mut log = Vec::new();
        reader.read_to_end(&mut log).expect("it can be read");
        String::from_utf8(log).expect("text")
    });
    run.terminate();
    assert_eq!(run.code("the node stops").await, Some(0));
    let log = read.await.expect("no panic");
    let mut lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line));
    let told = lines.find(|line| {
        line["message"]
            .as_str()
            .is_some_and(|told| told.contains("were dropped"))
    });
    assert!(
        told.is_some_and(|told| told["dropped"].as_u64() > Some(0)),
        "it does not say so"
    );
}

/// F1: a command whose words cannot be written ends as one whose words can.
#[tokio::test]
async fn commands_end_as_they_should_whatever_becomes_of_what_they_write() {
    let redis = Redis::start().await;
    let node = Node::start(&NodeOptions::on(redis.url())).await;
    let health = format!("{}/health", node.url());
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    // Somebody may have a node on the default port.
    let at = |url| [("REDIS_URL", url), ("PORT", "0")];
    let url = redis.url();
    let (on, away) = (at(&*url), at(&*nowhere));
    for fate in [Fate::Full, Fate::Gone, Fate::Closed] {
        // What is asked for cannot be told.
        let list = if fate == Fate::Full { 1 } else { 0 };
        for (arguments, env, code) in [
            (&["check"][..], &on[..], 0),
            (&["check"], &away, 69),
            (&["health", "--url", &health], &[], 0),
            (&["health", "--url", &nowhere], &[], 1),
            (&["sessions", "list"], &on, list),
            (&["sessions", "list"], &[], 78),
            (&["--help"], &[], 0),
            (&["--port", "http"], &[], 78),
            (&["--wrong"], &[], 2),
        ] {
            let what = format!("{arguments:?} with {env:?} and an output that is {fate:?}");
            let run = Run::start(fate, arguments, env);
            assert_eq!(run.code(&what).await, Some(code), "{what}");
        }
    }
    // What the exit code tells already is not waited for.
    for (arguments, env, code) in [
        (&["--port", "http"][..], &[][..], 78),
        (&["check"], &on, 0),
        (&["health", "--url", &health], &[], 0),
    ] {
        let what = format!("{arguments:?} with an output that nobody reads");
        let run = Run::start(Fate::Unread, arguments, env);
        assert_eq!(run.code(&what).await, Some(code), "{what}");
    }
}

#[tokio::test]
async fn what_was_logged_is_written_before_the_end() {
    let node = Program::serve(&[], &[]).await;
    node.signal(Signal::Terminate);
    let done = node.end().await;
    assert_eq!(done.code, Some(0));
    let last = done.stderr.lines().last().expect("a line");
    assert!(last.contains("\"stopped\""), "{}", done.stderr);
}
