//! `http.probe_listen`: health and metrics at an address of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::client::Client;
use crate::support::http::http_client;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::{Signal, eventually, free_port, within};
use crate::support::program::Program;

const LISTEN: &str = "MCP_HTTP__PROBE_LISTEN";
const PATHS: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];
/// How many connections the address has, and how long one may be silent there.
const PROBES_MAX: usize = 64;
const SILENCE_ENDS_WITHIN: Duration = Duration::from_secs(10);

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The status and the body of what is answered, if anything is.
async fn get(url: &str) -> Option<(u16, String)> {
    let http = http_client().build().expect("a client");
    let answer = http.get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

#[tokio::test]
async fn health_and_metrics_move_to_their_address_and_balancers_still_ask_where_clients_are() {
    let node = Program::serve(&[], &[(LISTEN, "127.0.0.1:0")]).await;
    let (clients, probes) = (node.url(), node.told("health at"));
    let status = async |url: String| get(&url).await.expect("an answer").0;
    for path in PATHS {
        let outside = if ["/livez", "/readyz"].contains(&path) {
            200
        } else {
            404
        };
        for slash in ["", "/"] {
            assert_eq!(
                status(format!("{probes}{path}{slash}")).await,
                200,
                "{path}{slash}"
            );
            assert_eq!(
                status(format!("{clients}{path}{slash}")).await,
                outside,
                "{path}{slash}"
            );
        }
    }
    let (_, health) = get(&format!("{probes}/health")).await.expect("health");
    assert!(health.contains("\"healthy\""), "{health}");
    let (_, metrics) = get(&format!("{probes}/metrics")).await.expect("metrics");
    assert!(metrics.contains("anynode_build_info"), "{metrics}");
    for path in ["/", "/mcp", "/sse", "/messages", "/nowhere"] {
        let (status, words) = get(&format!("{probes}{path}")).await.expect("an answer");
        assert!(
            status == 404 && words.contains("/metrics"),
            "{path}: {status} {words}"
        );
    }
    let initialized = Client::legacy(&probes).initialize().await;
    assert_eq!(initialized.status, 404, "{}", initialized.body);
    let (_, words) = get(&clients).await.expect("the index");
    assert!(words.contains("MCP") && !words.contains("health"), "{words}");
    Client::legacy(&clients).list().await.ok();
}

#[tokio::test]
async fn the_command_asks_for_health_where_it_is() {
    let address = loopback(free_port());
    let node = Program::serve(&[], &[(LISTEN, &address)]).await;
    let env = [(LISTEN, &*address)];
    assert_eq!(Program::run(&["health"], &env).await.ok(), "healthy\n");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = format!("unix:{}", dir.path().join("probes.sock").display());
    let env = [(LISTEN, &*socket), ("MCP_DRAIN__DELAY", "0s")];
    let other = Program::serve(&[], &env).await;
    assert_eq!(other.told("health at"), socket);
    assert_eq!(Program::run(&["health"], &env).await.ok(), "healthy\n");
    other.signal(Signal::Terminate);
    assert_eq!(other.end().await.code, Some(0));
    assert!(
        !dir.path().join("probes.sock").exists(),
        "the socket's file is left behind"
    );
    drop(node);
}

/// It is open until the node ends: how a drain goes can be watched.
#[tokio::test]
async fn probes_are_answered_while_the_node_drains() {
    let probes = format!("http://127.0.0.1:{}", free_port());
    let address = probes.trim_start_matches("http://");
    let options = NodeOptions::default()
        .env(LISTEN, address)
        .env("MCP_DRAIN__DELAY", "0s");
    let node = Node::start(&options).await;
    let client = Client::legacy(&node.url());
    let params = json!({"name": "countdown", "arguments": {"from": 20, "interval_ms": 200}});
    let (id, mut call) = client.stream("tools/call", params).await;
    call.next().await.expect("the call goes on");
    node.terminate();
    eventually("nobody takes clients any longer", async || {
        get(&format!("{}/livez", node.url()))
            .await
            .is_none()
            .then_some(())
    })
    .await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 503),
        ("/health", 503),
        ("/metrics", 200),
    ] {
        let answer = get(&format!("{probes}{path}")).await.expect("an answer");
        assert_eq!(answer.0, status, "{path}");
    }
    let (_, metrics) = get(&format!("{probes}/metrics")).await.expect("metrics");
    assert!(metrics.contains("anynode_calls_in_flight 1"), "{metrics}");
    assert!(
        call.answer_to(&id).await["result"].is_object(),
        "the call is answered"
    );
    assert!(node.end().await.success());
    assert_eq!(get(&format!("{probes}/livez")).await, None);
}

/// A connection from 127.0.0.`last`.
async fn connect(port: u16, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(from).expect("an address of this machine");
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(to).await.expect("a connection")
}

/// Whether this address is answered.
async fn is_well(port: u16, last: u8) -> bool {
    let mut connection = connect(port, last).await;
    let request = b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    connection.write_all(request).await.is_ok()
        && connection.read_to_string(&mut answer).await.is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

/// Neither clients nor one of those who ask can take the places of the others.
#[tokio::test]
async fn probes_are_not_starved() {
    let port = free_port();
    let options = NodeOptions::default()
        .env(LISTEN, loopback(port))
        .env("MCP_HTTP__CONNECTIONS_MAX", "4");
    let node = Node::start(&options).await;
    // All places of clients, and all that are kept back beside those.
    let mut silent = Vec::new();
    for last in 2..6 {
        for _ in 0..PROBES_MAX / 2 {
            silent.push(connect(node.port(), last).await);
        }
    }
    for last in 1..6 {
        assert!(is_well(port, last).await, "127.0.0.{last} is not answered");
    }
    // More than one address may have there.
    for _ in 0..PROBES_MAX {
        silent.push(connect(port, 2).await);
    }
    assert!(is_well(port, 1).await, "one address has taken all places");
    within(SILENCE_ENDS_WITHIN, "silent connections are closed", || async {
        is_well(port, 2).await.then_some(())
    })
    .await;
    drop(silent);
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_told_at_the_start_and_by_check() {
    let run = async |arguments: &[&str], address: &str, code: i32| {
        let env = [("PORT", "0"), (LISTEN, address)];
        Program::run(arguments, &env).await.one_line(code)
    };
    for arguments in [&[][..], &["check"]] {
        for address in ["9090", "0.0.0.0", "http://0.0.0.0:9090", "0.0.0.0:http"] {
            let line = run(arguments, address, 78).await;
            assert!(line.contains(LISTEN) && line.contains("0.0.0.0:9090"), "{line}");
        }
        let line = run(arguments, "192.0.2.1:9090", 1).await;
        assert!(line.contains("http.probe_listen=192.0.2.1:9090"), "{line}");
        let line = run(arguments, "unix:/nowhere/at-all/probes.sock", 1).await;
        assert!(line.contains("/nowhere/at-all"), "{line}");
    }
    let node = Program::serve(&[], &[]).await;
    let taken = node.url().trim_start_matches("http://").to_owned();
    let line = run(&[], &taken, 1).await;
    assert!(line.contains(&taken) && line.contains("in use"), "{line}");
    // A node of these settings may be running here: `check` says how to look at the rest.
    let port = free_port();
    let env = [("PORT", "0"), (LISTEN, &*loopback(port))];
    let _other = Program::serve(&[], &env).await;
    let line = Program::run(&["check"], &env).await.one_line(1);
    assert!(line.contains("--set http.probe_listen="), "{line}");
    let checked = Program::run(&["check", "--set", "http.probe_listen="], &env).await;
    assert!(checked.ok().contains("this node can serve"));
}
