//! `mcp-server` as a user meets it at a prompt: what it prints on stdout and on stderr, and its exit code.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Process, Signal, eventually, know_tls};

/// How the greeting names the address.
const LISTENS: &str = "listens on";
/// Hands on the socket that it has for its own stdout as systemd does, and becomes the program.
const PASSING: &str =
    r#"exec 3>&1 >stdout; LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$0""#;
/// How the greeting introduces the last of its lines.
const TRY: &str = "try it";

/// How a run of it ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of, and logged.
    pub(crate) stderr: String,
}

impl Done {
    /// Fails the test unless it succeeded with nothing on stderr; its stdout.
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (Some(0), ""),
            "{}",
            self.stdout
        );
        self.stdout
    }

    /// Fails the test unless it ended with this exit code and told why in JSON, with nothing on stderr; its
    /// problems.
    pub(crate) fn problems(self, code: i32) -> Vec<Value> {
        assert_eq!((self.code, &*self.stderr), (Some(code), ""), "{self:?}");
        let told: Value = serde_json::from_str(&self.stdout).expect("JSON");
        assert_eq!(told["status"], "error", "{told}");
        told["problems"].as_array().expect("problems").clone()
    }

    /// Fails the test unless it ended with this exit code, nothing on stdout, and one clear line on stderr,
    /// which it returns.
    pub(crate) fn one_line(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "one line, not:\n{}", self.stderr);
        assert!(self.stderr.starts_with("mcp-server: "), "{}", self.stderr);
        // Debug notation, a panic or a backtrace is not clear.
        for unclear in ["panicked", "backtrace", "Error {", "Os {", "kind:", "Some("] {
            assert!(!self.stderr.contains(unclear), "{unclear} in {}", self.stderr);
        }
        self.stderr
    }
}

/// A run of it, killed when dropped. It has no environment but what the test gives, HOST=127.0.0.1 and a
/// bound on connections.
#[derive(Debug)]
pub(crate) struct Program {
    process: Mutex<Process>,
    dir: TempDir,
}

impl Program {
    /// Starts it, and waits for nothing.
    pub(crate) fn start(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_mcp-server")), arguments, env)
    }

    /// Starts another program with the same command line, and waits for nothing.
    pub(crate) fn start_program(program: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(command, env, |file| file.into())
    }

    /// Starts a node that has this socket from its parent, and waits until it has greeted.
    pub(crate) async fn serve_passed(socket: &TcpListener, env: &[(&str, &str)]) -> Self {
        let socket: OwnedFd = socket.try_clone().expect("a socket can be shared").into();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", PASSING, env!("CARGO_BIN_EXE_mcp-server")]);
        let program = Self::spawn(command, env, |_stdout| socket.into());
        program.greeted().await;
        program
    }

    fn spawn(mut command: Command, env: &[(&str, &str)], stdout: impl FnOnce(File) -> Stdio) -> Self {
        know_tls();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| File::create(dir.path().join(name)).expect("a file for what it prints");
        command
            .current_dir(dir.path())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .env("HOST", "127.0.0.1")
            // More than any test needs, and less than many machines allow: else it warns of that.
            .env("MCP_HTTP__CONNECTIONS_MAX", "15000")
            .envs(env.iter().copied())
            .stdout(stdout(file("stdout")))
            .stderr(file("stderr"));
        let process = Process::spawn_writing(command, &dir.path().join("stderr"), "cargo build");
        Self {
            process: Mutex::new(process),
            dir,
        }
    }

    /// Runs it to its end.
    pub(crate) async fn run(arguments: &[&str], env: &[(&str, &str)]) -> Done {
        Self::start(arguments, env).end().await
    }

    /// Starts a node on a free port, and waits until it has greeted.
    pub(crate) async fn serve(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut all = vec![("PORT", "0")];
        all.extend(env);
        let program = Self::start(arguments, &all);
        program.greeted().await;
        program
    }

    /// Waits for the greeting, all of it.
    pub(crate) async fn greeted(&self) {
        eventually("the node greets", || async {
            assert!(!self.ended(), "the node ended. It said:\n{}", self.stderr());
            let stdout = self.stdout();
            (stdout.contains(TRY) && stdout.ends_with('\n')).then_some(())
        })
        .await;
    }

    /// What the greeting says behind `label`.
    pub(crate) fn told(&self, label: &str) -> String {
        let stdout = self.stdout();
        let told = stdout.lines().find_map(|line| line.trim().strip_prefix(label));
        told.unwrap_or_else(|| panic!("no `{label}` in:\n{stdout}"))
            .trim()
            .to_owned()
    }

    /// Where it says that it listens.
    pub(crate) fn url(&self) -> String {
        self.told(LISTENS)
    }

    /// The line that it says to try.
    pub(crate) fn try_it(&self) -> String {
        self.told(TRY)
    }

    /// What it printed so far.
    pub(crate) fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it complained of and logged so far.
    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Its directory, where it runs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.lock().expect("no panic so far").signal(signal);
    }

    /// Whether it has ended.
    pub(crate) fn ended(&self) -> bool {
        self.process.lock().expect("no panic so far").ended().is_some()
    }

    /// Waits until it has ended.
    pub(crate) async fn end(&self) -> Done {
        let status = eventually("the end of mcp-server", || async {
            self.process.lock().expect("no panic so far").ended()
        })
        .await;
        Done {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}
