//! A real authorization server, with a person who consents to everything: node-oidc-provider in tests/auth.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Process, eventually};
use crate::official_clients::installed;
use crate::support::http::http_client;

/// What the line begins with that says where it listens.
const LISTENING: &str = "listening on ";

/// A running authorization server, killed when dropped.
#[derive(Debug)]
pub(crate) struct AuthorizationServer {
    url: String,
    process: Mutex<Process>,
    _dir: TempDir,
}

impl AuthorizationServer {
    /// Starts node-oidc-provider; `options` are those of tests/auth/as.mjs.
    pub(crate) async fn start(options: &Value) -> Self {
        Self::run("as.mjs", options).await
    }

    /// Starts oauth2-mock-server, which has OpenID's discovery only; `options` are those of tests/auth/mock.mjs.
    pub(crate) async fn start_mock(options: &Value) -> Self {
        Self::run("mock.mjs", options).await
    }

    async fn run(script: &str, options: &Value) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/auth");
        let modules = here.join("node_modules");
        assert!(
            modules.exists(),
            "{} is missing: run `make setup`",
            modules.display()
        );
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(installed("node_modules/.bin/node"));
        command.arg(here.join(script)).arg(options.to_string());
        let process = Process::spawn(command, &dir.path().join("log"), "run `make setup`");
        let process = Mutex::new(process);
        let url = eventually("the authorization server listens", || async {
            let mut process = process.lock().expect("no panic so far");
            assert!(process.ended().is_none(), "it ended. It said:\n{}", process.log());
            let log = process.log();
            let (whole, _) = log.rsplit_once('\n')?;
            let url = whole.lines().find_map(|line| line.strip_prefix(LISTENING));
            url.map(str::to_owned)
        })
        .await;
        Self {
            url,
            process,
            _dir: dir,
        }
    }

    /// As it names itself.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        self.process.lock().expect("no panic so far").log()
    }

    /// What clients have asked for so far: all that it says of this event.
    pub(crate) async fn seen(&self, event: &str) -> Vec<Value> {
        let events = self.control(reqwest::Method::GET, "seen").await;
        let events: Vec<Value> = serde_json::from_str(&events).expect("JSON");
        events.into_iter().filter(|seen| seen["event"] == event).collect()
    }

    /// Signs by a new key from now on, and publishes no other.
    pub(crate) async fn rotate(&self) {
        self.control(reqwest::Method::POST, "rotate").await;
    }

    /// The same under the name of the old key.
    pub(crate) async fn rotate_under_the_same_name(&self) {
        self.control(reqwest::Method::POST, "rotate?kid=key-1").await;
    }

    /// The mock makes one more key.
    pub(crate) async fn add_key(&self) {
        self.control(reqwest::Method::POST, "key").await;
    }

    /// A token by client credentials, for what `form` says of resource and scope.
    pub(crate) async fn token(&self, path: &str, client: (&str, &str), form: &[(&str, &str)]) -> String {
        let form = url::form_urlencoded::Serializer::new("grant_type=client_credentials".to_owned())
            .extend_pairs(form)
            .finish();
        let request = http()
            .post(format!("{}{path}", self.url))
            .basic_auth(client.0, Some(client.1))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = request
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        let told: Value = serde_json::from_str(&answer).expect("JSON");
        let token = told["access_token"].as_str();
        token
            .unwrap_or_else(|| panic!("no token: {answer}\n{}", self.log()))
            .to_owned()
    }

    async fn control(&self, method: reqwest::Method, path: &str) -> String {
        let url = format!("{}/control/{path}", self.url);
        let answer = http().request(method, &url).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.text().await.expect("a body")
    }
}

fn http() -> reqwest::Client {
    http_client().build().expect("a client")
}
