//! Real Redis servers, started by a test on free ports in a fresh directory, killed when dropped.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::ttl::assert_that_all_keys_end;

/// How long a server may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// One `redis-server`.
pub(crate) struct Redis {
    child: Option<Child>,
    args: Vec<String>,
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
}

impl Redis {
    /// A server without password on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with further arguments, of which `{dir}` is replaced by its directory.
    pub(crate) async fn start_with(args: &[&str]) -> Self {
        let mut redis = Self::prepare(free_port(), args);
        redis.run().await;
        redis
    }

    /// A server that is not running yet.
    pub(crate) fn prepare(port: u16, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().display().to_string();
        let base = [
            "--save",
            "",
            "--appendonly",
            "no",
            "--bind",
            "127.0.0.1",
            "--dir",
            "{dir}",
            "--enable-debug-command",
            "yes",
        ];
        let base = base.iter().chain(args).map(|arg| arg.replace("{dir}", &path));
        let mut args: Vec<String> = base.collect();
        if !args.iter().any(|arg| arg == "--port") {
            args.extend(["--port".into(), port.to_string()]);
        }
        Self {
            child: None,
            args,
            port,
            dir,
        }
    }

    /// Adds arguments to one that is not running yet; `{dir}` and `{port}` are replaced.
    pub(crate) fn add_args(&mut self, args: &[&str]) {
        let (dir, port) = (self.dir.path().display().to_string(), self.port.to_string());
        let args = args
            .iter()
            .map(|arg| arg.replace("{dir}", &dir).replace("{port}", &port));
        self.args.extend(args);
    }

    /// Starts it, and waits until it answers (`PONG`, or that it wants a password).
    pub(crate) async fn run(&mut self) {
        self.spawn("redis-server", &self.args.clone());
        let tls = self.args.iter().any(|arg| arg == "--tls-port");
        let port = self.port;
        until("redis-server answers", async || {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "redis-server ended at once: {ended:?}");
            if tls {
                return tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            }
            let answer = cli(port, &["ping"]);
            answer.contains("PONG") || answer.contains("NOAUTH")
        })
        .await;
    }

    /// A sentinel that watches `master` under the name `it`.
    pub(crate) async fn sentinel(master: u16) -> Self {
        let port = free_port();
        let mut redis = Self::prepare(port, &[]);
        let file = redis.path("sentinel.conf");
        let conf = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor it 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds it 1000\nsentinel failover-timeout it 5000\n",
            dir = redis.dir.path().display()
        );
        std::fs::write(&file, conf).expect("a sentinel's configuration");
        redis.spawn("redis-server", &[file.display().to_string(), "--sentinel".into()]);
        until("the sentinel answers", async || {
            cli(port, &["ping"]).contains("PONG")
        })
        .await;
        redis
    }

    fn spawn(&mut self, program: &str, args: &[String]) {
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server must be installed: apt-get install redis-server");
        self.child = Some(child);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        cli(self.port, args)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
        }
    }

    /// `kill -STOP`, or with `false` `kill -CONT`.
    pub(crate) fn freeze(&self, frozen: bool) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let done = Command::new("kill")
            .args([signal, &pid])
            .status()
            .expect("kill runs");
        assert!(done.success(), "kill {signal}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            assert_that_all_keys_end(self.port);
        }
        self.kill();
    }
}

/// A cluster of three masters.
pub(crate) async fn cluster() -> Vec<Redis> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let args = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-config-file",
            "nodes.conf",
        ];
        // The bus needs a port 10000 above, which is free if the other is, as good as always.
        nodes.push(Redis::start_with(&args).await);
    }
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let done = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .arg("--cluster-yes")
        .output()
        .expect("redis-cli runs");
    assert!(done.status.success(), "{}", text(&done));
    for node in &nodes {
        until("the cluster is up", async || {
            node.cli(&["cluster", "info"]).contains("cluster_state:ok")
        })
        .await;
    }
    nodes
}

/// A port for this process alone, below the range of outgoing ports and low enough for a cluster bus 10000 above.
///
/// Tests run in processes of their own, at once. So a port is claimed by a lock on a file, which the system lets go of
/// when the process ends.
pub(crate) fn free_port() -> u16 {
    static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let dir = std::env::temp_dir().join("anynode-it-ports");
    std::fs::create_dir_all(&dir).expect("a directory for claims");
    let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for port in 11_000..21_000 {
        let claim = File::create(dir.join(port.to_string())).expect("a file for a claim");
        if claim.try_lock().is_ok() && free(port) && free(port + 10_000) {
            CLAIMED.lock().expect("no test panics here").push(claim);
            return port;
        }
    }
    unreachable!("ten thousand ports are taken")
}

/// What `redis-cli` prints when it talks to `port`.
pub(crate) fn cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(args)
        .output();
    text(&output.expect("redis-cli must be installed: apt-get install redis-tools"))
}

fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

/// Waits until `done`.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "it took too long until {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Certificates of an authority of our own, as PEM files in `dir`: `ca.pem`, `server.pem`, `server.key`,
/// `client.pem`, `client.key`, and `other.pem`, an authority that signed none of them.
pub(crate) fn certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), Issuer::new(params, key))
    };
    let write = |name: &str, pem: String| std::fs::write(dir.join(name), pem).expect("a PEM file");
    let (pem, issuer) = authority("anynode test authority");
    write("ca.pem", pem);
    write("other.pem", authority("another authority").0);
    for name in ["server", "client"] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}
