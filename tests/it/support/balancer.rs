//! A real load balancer without affinity: HAProxy.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use super::process::{Process, eventually, free_port};
use crate::support::http::http_client;

const INSTALL: &str = "apt-get install haproxy, or run `make setup`";
/// Another test may take a port between choosing and binding.
const STARTS_MAX: usize = 5;

/// The header by which it says whose answer this is.
pub(crate) const SERVED_BY: &str = "x-served-by";

/// What it knows of a server from its health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// It gets its share of requests.
    Up,
    /// It gets none.
    Down,
}

/// A HAProxy that gives every request to the next server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Balancer {
    port: u16,
    stats_port: u16,
    process: Mutex<Process>,
    _dir: TempDir,
}

impl Balancer {
    /// Starts one before servers on these ports of 127.0.0.1, and waits until all of them are up.
    pub(crate) async fn start(ports: &[u16]) -> Self {
        for _ in 0..STARTS_MAX {
            let balancer = Self::spawn(free_port(), ports);
            if balancer.is_up().await {
                return balancer;
            }
            let log = balancer.log();
            assert!(log.contains("in use"), "haproxy ended at once. It said:\n{log}");
        }
        panic!("no port could be had for haproxy");
    }

    /// Starts one on a port that this test has claimed, which the servers' settings name.
    pub(crate) async fn start_at(port: u16, ports: &[u16]) -> Self {
        let balancer = Self::spawn(port, ports);
        assert!(
            balancer.is_up().await,
            "haproxy ended at once. It said:\n{}",
            balancer.log()
        );
        balancer
    }

    /// Waits until all servers are up; false when it has ended.
    async fn is_up(&self) -> bool {
        eventually("HAProxy and all servers behind it are up", || async {
            if self.lock().ended().is_some() {
                return Some(false);
            }
            let servers = self.column("status").await?;
            servers.iter().all(|status| status == "UP").then_some(true)
        })
        .await
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        self.lock().log()
    }

    /// Waits until it gives requests to this server, counted from 0, or does no longer.
    pub(crate) async fn until(&self, server: usize, state: Server) {
        let wanted = match state {
            Server::Up => "UP",
            Server::Down => "DOWN",
        };
        let what = format!("HAProxy finds server {server} {wanted}");
        eventually(&what, || async {
            let servers = self.column("status").await?;
            (servers.get(server)? == wanted).then_some(())
        })
        .await;
    }

    /// How many requests each server answered with 2xx, in the order of the ports. Health checks do not
    /// count.
    pub(crate) async fn served(&self) -> Vec<u64> {
        let column = self
            .column("hrsp_2xx")
            .await
            .expect("haproxy shows its statistics");
        column
            .iter()
            .map(|count| count.parse().expect("a count"))
            .collect()
    }

    fn spawn(port: u16, ports: &[u16]) -> Self {
        let stats_port = free_port();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, settings(port, stats_port, ports)).expect("the settings can be written");
        let mut command = Command::new("haproxy");
        // It is among the system's programs, where a user's own PATH may not look.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
        command.arg("-db").arg("-f").arg(&file);
        Self {
            port,
            stats_port,
            process: Mutex::new(Process::spawn(command, &dir.path().join("log"), INSTALL)),
            _dir: dir,
        }
    }

    /// One column of the statistics, a value for each server.
    async fn column(&self, name: &str) -> Option<Vec<String>> {
        let url = format!("http://127.0.0.1:{}/stats;csv", self.stats_port);
        let http = http_client().build().expect("a client");
        let table = http.get(url).send().await.ok()?.text().await.ok()?;
        let mut lines = table.lines();
        let index = lines.next()?.split(',').position(|column| column == name)?;
        Some(
            lines
                .map(|line| line.split(',').collect::<Vec<_>>())
                .filter(|row| row.get(1).is_some_and(|server| server.starts_with("node")))
                .map(|row| row[index].to_owned())
                .collect(),
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process
            .lock()
            .expect("no test panicked while holding haproxy")
    }
}

/// One thread, so that the turn is strict. The timeouts are idle timers: longer than any test.
fn settings(port: u16, stats_port: u16, servers: &[u16]) -> String {
    let mut text = format!(
        "global
  nbthread 1
  log stderr format raw daemon warning
defaults
  mode http
  timeout connect 500ms
  timeout client 10m
  timeout server 10m
  timeout http-request 10s
  timeout check 2s
frontend stats
  bind 127.0.0.1:{stats_port}
  stats enable
  stats uri /stats
frontend mcp
  bind 127.0.0.1:{port}
  http-response set-header {SERVED_BY} %s
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /readyz
  option http-no-delay
  option redispatch 1
  retries 3
  default-server check inter 200ms fall 1 rise 1
"
    );
    for (index, server) in servers.iter().enumerate() {
        writeln!(text, "  server node-{index} 127.0.0.1:{server}").expect("text grows");
    }
    text
}
