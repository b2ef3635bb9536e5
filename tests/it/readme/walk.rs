//! What README.md says to try is run as a reader does, with other ports and the program that is built: it does
//! what is said of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tokio::net::TcpStream;

use super::README;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::{eventually, free_port};

/// How many seconds a walk may take.
const SECONDS_MAX: &str = "90";

/// What stands below a heading of README.md, up to the next one.
fn section(heading: &str) -> &'static str {
    let (_, below) = README.split_once(&format!("\n{heading}\n")).expect("the heading");
    let end = ["\n## ", "\n### "]
        .iter()
        .filter_map(|next| below.find(next))
        .min();
    &below[..end.unwrap_or(below.len())]
}

/// The blocks of one language in a section.
fn blocks<'a>(section: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let begun = section.split(&*start).skip(1);
    begun
        .map(|block| block.split("```").next().expect("its end"))
        .collect()
}

/// Runs lines in a shell of its own, in a directory with a `target` in it.
fn run(dir: &Path, lines: &str) -> Output {
    std::fs::create_dir_all(dir.join("target")).expect("a directory");
    let built = Path::new(env!("CARGO_BIN_EXE_mcp-server"))
        .parent()
        .expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let ran = Command::new("timeout")
        .args([SECONDS_MAX, "bash", "-c", lines])
        .current_dir(dir)
        // HAProxy is where a user's own PATH may not look.
        .env("PATH", format!("{}:{path}:/usr/sbin", built.display()))
        .env("no_proxy", "*")
        .output();
    ran.expect("bash, timeout, curl, redis-server and haproxy are installed: run `make setup`")
}

/// A18: each answer stands on a line of its own, and is what is shown.
#[tokio::test]
async fn what_is_to_be_tried_answers_what_is_shown() {
    let node = Node::start(&NodeOptions::default()).await;
    let text = section("## Try it");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut answers = Vec::new();
    for block in blocks(text, "sh") {
        let lines = block.replace("http://127.0.0.1:3000", &node.url());
        let ran = run(dir.path(), &lines);
        assert!(ran.status.success(), "{ran:?}");
        answers.push(String::from_utf8(ran.stdout).expect("text"));
    }
    let shown = blocks(text, "json");
    assert_eq!(answers[0], shown[0], "another answer than README.md shows");
    let modern: Value = serde_json::from_str(&answers[1]).expect("one line of JSON");
    assert_eq!(modern["result"]["structuredContent"]["text"], "hello");
}

/// A8: the walk with three nodes works from its first line to its last, beside all that the reader has
/// running, and leaves that alone.
#[tokio::test]
async fn three_nodes_do_what_is_said_of_them() {
    let text = section("## Three nodes on one machine");
    assert!(
        !text.contains(":3000"),
        "the node of `Try it` may still have that port"
    );
    let mut lines = blocks(text, "sh").concat();
    let mut ports = BTreeMap::new();
    for port in ["6379", "3001", "3002", "3003", "8080"] {
        let other = free_port();
        assert!(lines.contains(port), "{port} is not used");
        lines = lines.replace(port, &other.to_string());
        ports.insert(port, other);
    }
    let lines = lines
        .replace("cargo build --release\n", "")
        .replace("export PATH=\"$PWD/target/release:$PATH\"\n", "")
        .replace("redis-cli ", &format!("redis-cli -p {} ", ports["6379"]));
    // What is left when a line fails must not stay; and another job of the reader's must.
    let lines = format!(
        "trap 'kill $pids $node_2 $(cat target/haproxy.pid) 2>/dev/null' EXIT\n\
         sleep 1000 & other=$!\n{lines}\nkill -0 $other && echo 'the other job is alone'; kill $other\n"
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ran = run(dir.path(), &lines);
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    let told = |start: &str, end: char| {
        let rest = out.lines().filter_map(|line| line.strip_prefix(start));
        let rest = rest.map(|rest| rest.trim_end_matches(end).to_owned());
        rest.collect::<Vec<_>>()
    };
    let nodes = told("\"node\":\"", '"');
    let walk = [
        "node-1", "node-2", "node-3", "node-1", "node-2", "node-3", "node-1", "node-3", "node-1", "node-3",
    ];
    assert!(
        nodes.len() == 14 && nodes.starts_with(&walk.map(str::to_owned)),
        "{out}\n{err}"
    );
    let balanced: Vec<_> = nodes[10..].iter().filter(|node| *node == "node-1").collect();
    assert_eq!(balanced.len(), 2, "by turns: {out}");
    let counted: Vec<_> = (1..=10).map(|count: u32| count.to_string()).collect();
    assert_eq!(told("\"value\":", ' '), counted, "{out}\n{err}");
    for part in [
        "session:",
        "clientInfo",
        "SESSION ",
        "ended ",
        "Session not found",
        "the other job is alone",
    ] {
        assert!(out.contains(part), "no `{part}` in\n{out}\n{err}");
    }
    for (what, port) in ports {
        eventually(&format!("what was on port {what} has ended"), || async {
            let connected = TcpStream::connect(("127.0.0.1", port)).await;
            connected.is_err().then_some(())
        })
        .await;
    }
}
