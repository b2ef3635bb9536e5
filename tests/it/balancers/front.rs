//! Balancers other than the tests' own, with their configurations from `deploy/` as they are: only addresses
//! are put in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::json;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::node::Node;
use crate::support::process::{Process, eventually, free_port, until};

/// Another test may take a port between choosing and binding.
const STARTS_MAX: usize = 5;
/// Where the configurations listen.
const LISTENS: &str = "8080";
/// What Traefik reads at its start: where to listen, and the name of the other file.
const TRAEFIK: &str = "traefik.yml";

/// Which balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Haproxy,
    Nginx,
    Caddy,
    Traefik,
    Envoy,
}

/// To which node it gives a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// The next.
    RoundRobin,
    /// That of its session.
    SessionHash,
    /// Each connection as it is to the next, with whose it is.
    ProxyProtocol,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Haproxy,
        Self::Nginx,
        Self::Caddy,
        Self::Traefik,
        Self::Envoy,
    ];

    /// Its configuration in `deploy/`.
    const fn file(self, spread: Spread) -> &'static str {
        match (self, spread) {
            (Self::Haproxy, Spread::RoundRobin) => "haproxy/round-robin.cfg",
            (Self::Haproxy, Spread::SessionHash) => "haproxy/session-hash.cfg",
            (Self::Nginx, Spread::RoundRobin) => "nginx/round-robin.conf",
            (Self::Nginx, Spread::SessionHash) => "nginx/session-hash.conf",
            (Self::Caddy, Spread::RoundRobin) => "caddy/round-robin.Caddyfile",
            (Self::Caddy, Spread::SessionHash) => "caddy/session-hash.Caddyfile",
            (Self::Traefik, Spread::RoundRobin) => "traefik/round-robin.yml",
            (Self::Traefik, Spread::SessionHash) => "traefik/session-hash.yml",
            (Self::Envoy, Spread::RoundRobin) => "envoy/round-robin.yaml",
            (Self::Envoy, Spread::SessionHash) => "envoy/session-hash.yaml",
            (Self::Haproxy, Spread::ProxyProtocol) => "haproxy/proxy-protocol.cfg",
            (Self::Nginx, Spread::ProxyProtocol) => "nginx/proxy-protocol.conf",
            (Self::Envoy, Spread::ProxyProtocol) => "envoy/proxy-protocol.yaml",
            (Self::Caddy | Self::Traefik, Spread::ProxyProtocol) => {
                panic!("it has no configuration for that")
            }
        }
    }

    fn command(self, file: &Path, dir: &Path) -> Command {
        let mut command = match self {
            Self::Haproxy => {
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Self::Nginx => {
                let mut command = Command::new("nginx");
                let run = format!("daemon off; pid {};", dir.join("pid").display());
                command.args(["-e", "stderr", "-g", &run, "-p"]);
                command.arg(dir).arg("-c").arg(file);
                command
            }
            Self::Caddy => {
                let mut command = Command::new(installed("caddy"));
                command
                    .args(["run", "--adapter", "caddyfile", "--config"])
                    .arg(file);
                command
                    .env("HOME", dir)
                    .env("XDG_DATA_HOME", dir)
                    .env("XDG_CONFIG_HOME", dir);
                command
            }
            Self::Traefik => {
                let mut command = Command::new(installed("traefik"));
                command.arg("--configFile").arg(dir.join(TRAEFIK));
                command
            }
            Self::Envoy => {
                let mut command = Command::new(installed("envoy"));
                // Without it two cannot run at once.
                command.args([
                    "--use-dynamic-base-id",
                    "--concurrency",
                    "2",
                    "--log-level",
                    "warn",
                    "-c",
                ]);
                command.arg(file);
                command
            }
        };
        // Some are among the system's programs, where a user's own PATH may not look.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
        command
    }
}

/// A program that `make setup` installs for the configurations.
fn installed(program: &str) -> PathBuf {
    let path = deploy().join(".venv/bin").join(program);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// A balancer in front of a cluster of three, killed when dropped.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) kind: Kind,
    port: u16,
    /// The path below which it has the nodes.
    below: &'static str,
    process: Mutex<Process>,
    _dir: TempDir,
}

impl Front {
    /// Starts it, and waits until each node has answered through it.
    pub(super) async fn start(kind: Kind, spread: Spread, cluster: &Cluster) -> Self {
        Self::start_with(kind, spread, cluster, &[]).await
    }

    /// The same, with some words of the configuration replaced by others.
    pub(super) async fn start_with(
        kind: Kind,
        spread: Spread,
        cluster: &Cluster,
        changes: &[(&str, &str)],
    ) -> Self {
        let front = Self::answering(kind, spread, cluster, changes, "").await;
        front.knows_all(cluster).await;
        front
    }

    /// Starts one that has the nodes below a path, which it takes off: HAProxy or nginx.
    pub(super) async fn start_below(kind: Kind, cluster: &Cluster, below: &'static str) -> Self {
        let changes = match kind {
            Kind::Haproxy => [
                (
                    "path /mcp /sse /messages\n".to_owned(),
                    format!("path {below}/mcp {below}/sse {below}/messages\n"),
                ),
                (
                    "default_backend nodes".to_owned(),
                    format!("http-request replace-path {below}(/.*) \\1\n    default_backend nodes"),
                ),
            ],
            Kind::Nginx => [
                (
                    r"location ~ ^/(mcp|sse|messages|\.well-known/oauth-.+)$ {".to_owned(),
                    format!("location {below}/ {{"),
                ),
                (
                    "proxy_pass http://nodes;".to_owned(),
                    "proxy_pass http://nodes/;".to_owned(),
                ),
            ],
            _ => panic!("{kind:?} is not asked to"),
        };
        let changes: Vec<_> = changes.iter().map(|(old, new)| (&**old, &**new)).collect();
        let front = Self::answering(kind, Spread::RoundRobin, cluster, &changes, below).await;
        front.knows_all(cluster).await;
        front
    }

    /// Starts it, and waits until some node has answered through it.
    pub(super) async fn answering(
        kind: Kind,
        spread: Spread,
        cluster: &Cluster,
        changes: &[(&str, &str)],
        below: &'static str,
    ) -> Self {
        let mut said = Vec::new();
        for _ in 0..STARTS_MAX {
            let front = Self::spawn(kind, spread, cluster, changes, below);
            let up = eventually(&format!("{kind:?} answers"), || async {
                if let Some(status) = front.process.lock().expect("no panic so far").ended() {
                    return Some(Err(status));
                }
                // A request without a session: any node refuses it with JSON, and the balancer itself with a page.
                let sent = http_client()
                    .build()
                    .expect("a client")
                    .post(format!("{}/mcp", front.url()));
                let answer = sent
                    .header("content-type", "application/json")
                    .body("{}")
                    .send()
                    .await
                    .ok()?;
                (answer.headers().get("content-type")? == "application/json").then_some(Ok(()))
            })
            .await;
            match up {
                Ok(()) => return front,
                // Somebody else may have taken its port.
                Err(status) => said.push(format!("{status}:\n{}", front.log())),
            }
        }
        panic!("{kind:?} ended at once each time. It said:\n{}", said.join("\n"));
    }

    /// Waits until each node has answered through it. A balancer that finds one more node well moves sessions
    /// to it, and tests watch where sessions go.
    async fn knows_all(&self, cluster: &Cluster) {
        // It goes to any node: it has no session.
        let client = Client::modern(&self.url());
        let mut missing: HashSet<_> = cluster.nodes().iter().map(Node::id).collect();
        until(&format!("{:?} has let each node answer", self.kind), async || {
            let who = client.call("whoami", json!({})).await;
            if who.status == 200 {
                missing.remove(who.structured()["node"].as_str().expect("a node"));
            }
            missing.is_empty()
        })
        .await;
    }

    /// Where it listens.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:<port>`, and the path.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.below)
    }

    /// Everything it printed so far.
    pub(super) fn log(&self) -> String {
        self.process.lock().expect("no panic so far").log()
    }

    /// Starts it, and waits for nothing.
    pub(super) fn spawn(
        kind: Kind,
        spread: Spread,
        cluster: &Cluster,
        changes: &[(&str, &str)],
        below: &'static str,
    ) -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let given = deploy().join(kind.file(spread));
        // Envoy goes by the end of the name.
        let file = dir.path().join(given.file_name().expect("a name"));
        let mut text = read(&given);
        for (old, new) in changes {
            assert!(text.contains(old), "the configuration says {old}");
            text = text.replace(old, new);
        }
        let text = at_nodes(kind, text, cluster);
        if kind == Kind::Traefik {
            write(&file, &text);
            let named = read(&deploy().join("traefik").join(TRAEFIK));
            let other = "/etc/traefik/round-robin.yml";
            assert!(named.contains(other), "{TRAEFIK} names {other}");
            let named = named.replace(other, &file.display().to_string());
            write(&dir.path().join(TRAEFIK), &on_port(named, port));
        } else {
            write(&file, &on_port(text, port));
        }
        let command = kind.command(&file, dir.path());
        Self {
            kind,
            port,
            below,
            process: Mutex::new(Process::spawn(
                command,
                &dir.path().join("log"),
                "run `make setup`",
            )),
            _dir: dir,
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the configuration is there")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the configuration can be written");
}

/// The configuration, listening on this port.
fn on_port(text: String, port: u16) -> String {
    assert!(text.contains(LISTENS), "the configuration listens on {LISTENS}");
    text.replace(LISTENS, &port.to_string())
}

/// The configuration with the addresses of these nodes.
fn at_nodes(kind: Kind, mut text: String, cluster: &Cluster) -> String {
    for (index, node) in cluster.nodes().iter().enumerate() {
        let there = format!("10.0.0.1{}", index + 1);
        let (given, here) = match kind {
            Kind::Envoy => (
                format!("address: {there}, port_value: 3000"),
                format!("address: 127.0.0.1, port_value: {}", node.port()),
            ),
            _ => (format!("{there}:3000"), format!("127.0.0.1:{}", node.port())),
        };
        assert!(text.contains(&given), "the configuration names node {index}");
        text = text.replace(&given, &here);
    }
    assert!(!text.contains("10.0.0."), "the configuration names more nodes");
    text
}
