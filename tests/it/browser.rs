//! A real Chromium: pages of other origins that call the server, with the official clients and without, and the MCP
//! Inspector's pages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::official_clients::installed;
use crate::support::process::{Process, free_port, within};

mod answers;
mod clients;
mod cuts;
mod inspector;
mod login;

/// The driver ends by itself after 90 s, with the browser that it started.
const DRIVER_PATIENCE: Duration = Duration::from_secs(120);
/// What the line begins with that says what the page saw.
const RESULT: &str = "result ";
/// The setting that lets pages of more origins call.
const ALLOWED_ORIGINS: &str = "MCP_HTTP__ALLOWED_ORIGINS";

/// Where the pages of a test come from: one port of this machine, under several names.
struct Origins {
    port: u16,
}

impl Origins {
    fn new() -> Self {
        Self { port: free_port() }
    }

    /// One that every server lets in, because its name is this machine's.
    fn loopback(&self) -> String {
        self.named("app.localhost")
    }

    /// One that a server lets in that is set to.
    fn allowed(&self) -> String {
        self.named("app.example.com")
    }

    /// One that nobody has heard of.
    fn strange(&self) -> String {
        self.named("other.example.com")
    }

    fn named(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }
}

/// Runs a scenario of the driver, and returns what its page saw. `options` say what is to be done.
async fn run(scenario: &str, options: Value) -> Value {
    let driver = directory().join("run.mjs");
    let modules = directory().join("node_modules");
    assert!(
        modules.exists(),
        "{} is missing: run `make setup`",
        modules.display()
    );
    // Chromium and the Inspector keep things in their user's home.
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(installed("node_modules/.bin/node"));
    command
        .arg(driver)
        .arg(scenario)
        .arg(options.to_string())
        .env("HOME", home.path());
    let mut driver = Process::spawn(command, &home.path().join("log"), "run `make setup`");
    let what = format!("the end of {scenario} {options}");
    let status = within(DRIVER_PATIENCE, &what, || std::future::ready(driver.ended())).await;

    let log = driver.log();
    assert!(status.success(), "{scenario} {options} failed:\n{log}");
    let result = log.lines().find_map(|line| line.strip_prefix(RESULT));
    let result = result.unwrap_or_else(|| panic!("{scenario} has no result:\n{log}"));
    serde_json::from_str(result).expect("the result is JSON")
}

/// The directory of the driver and its pages.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// One of the official clients, as the driver knows it.
fn client(line: &str, mode: &str) -> Value {
    json!({"line": line, "mode": mode})
}

/// The numbers from 1.
fn steps(count: u32) -> Value {
    (1..=count).collect()
}
