//! Files that change while clients are at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::SecureNode;
use crate::support::client::Client;
use crate::support::process::eventually;
use crate::support::tls::{Authority, Pair, client_config, connect, http};
use futures::future::join_all;
use serde_json::json;

/// How often the certificate is changed, and how many clients call meanwhile.
const TURNS: usize = 5;
const CALLERS: usize = 8;

/// Waits until new connections are shown that certificate.
async fn shows(secure: &SecureNode, pair: &Pair) {
    eventually("the node shows the new certificate", || async {
        let config = client_config(&secure.authority, None);
        let stream = connect(secure.node.port(), config).await.expect("TLS");
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().expect("a certificate");
        (shown[0] == pair.der()).then_some(())
    })
    .await;
}

async fn still_shows(secure: &SecureNode, pair: &Pair) {
    let stream = connect(secure.node.port(), client_config(&secure.authority, None)).await;
    let stream = stream.expect("TLS");
    let (_, connection) = stream.get_ref();
    assert_eq!(
        connection.peer_certificates().expect("a certificate")[0],
        pair.der()
    );
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_without_a_lost_stream_or_a_failed_call() {
    let secure = SecureNode::start().await;
    let client = Client::legacy(&secure.node.url()).over(http(&secure.authority, None));
    let uri = json!({"uri": "note://session/beat"});
    client.request("resources/subscribe", uri).await.ok();
    let mut stream = client.listen(None).await;
    let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..CALLERS).map(|index| {
        // Every other one makes a connection for each call.
        let lasting = http(&secure.authority, None);
        let (client, done, calls) = (client.clone(), Arc::clone(&done), Arc::clone(&calls));
        let authority = &secure.authority;
        async move {
            while !done.load(Ordering::Relaxed) {
                let http = if index % 2 == 0 {
                    lasting.clone()
                } else {
                    http(authority, None)
                };
                client
                    .clone()
                    .over(http)
                    .call("echo", json!({"text": "a"}))
                    .await
                    .ok();
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let changes = async {
        for turn in 1..=TURNS {
            let (fresh, before) = (secure.authority.server(), calls.load(Ordering::Relaxed));
            secure.files.put(&fresh);
            secure.node.hang_up();
            shows(&secure, &fresh).await;
            eventually("calls go on", || async {
                (calls.load(Ordering::Relaxed) > before + CALLERS).then_some(())
            })
            .await;
            client
                .call("remember", json!({"key": "beat", "value": turn}))
                .await
                .ok();
            stream.method("notifications/resources/updated").await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(changes, join_all(callers));
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_told_of_and_the_one_before_stays() {
    let authority_of_two = Authority::new("another authority");
    let secure = SecureNode::start().await;
    let (first, other) = (secure.authority.server(), authority_of_two.server());
    secure.files.put(&first);
    secure.node.hang_up();
    shows(&secure, &first).await;

    secure.files.write("key.pem", &other.key);
    secure.node.hang_up();
    let words = "does not fit the certificate in tls.cert_file";
    eventually("it is told of", || async {
        secure.node.log().contains(words).then_some(())
    })
    .await;
    still_shows(&secure, &first).await;
    assert_eq!(
        secure.node.log().matches(words).count(),
        1,
        "{}",
        secure.node.log()
    );
    assert!(!secure.node.log().contains("PRIVATE KEY"));

    let third = secure.authority.server();
    secure.files.put(&third);
    secure.node.hang_up();
    shows(&secure, &third).await;
}

#[tokio::test]
async fn an_expired_certificate_is_served_on_and_warned_of() {
    let secure = SecureNode::start().await;
    let expired = secure
        .authority
        .pair(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let client = Client::legacy(&secure.node.url()).over(http(&secure.authority, None));
    let mut stream = client.listen(None).await;
    // The stream has a connection to itself, and this one is kept for what follows.
    client.list().await.ok();
    secure.files.put(&expired);
    secure.node.hang_up();
    eventually("it is warned of", || async {
        secure
            .node
            .log()
            .contains("has expired: clients that check it refuse")
            .then_some(())
    })
    .await;
    // A client that checks refuses, and the log says why; the connections that are there go on.
    let refused = connect(secure.node.port(), client_config(&secure.authority, None)).await;
    assert!(
        refused
            .expect_err("it has expired")
            .to_string()
            .contains("xpired")
    );
    eventually("the log says why", || async {
        secure
            .node
            .log()
            .contains("does not trust this node's certificate")
            .then_some(())
    })
    .await;
    let uri = json!({"uri": "note://session/beat"});
    client.request("resources/subscribe", uri).await.ok();
    client
        .call("remember", json!({"key": "beat", "value": 1}))
        .await
        .ok();
    stream.method("notifications/resources/updated").await;

    let asked = std::process::Command::new("curl")
        .args([
            "--silent",
            "--insecure",
            &format!("{}/metrics", secure.node.url()),
        ])
        .output()
        .expect("curl runs");
    let metrics = String::from_utf8(asked.stdout).expect("text");
    let line = "anynode_certificate_expires_seconds 1577836800";
    assert!(metrics.lines().any(|shown| shown == line), "{metrics}");
}

#[tokio::test]
async fn a_changed_certificate_is_noted_in_the_audit_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("audit.jsonl");
    let secure = SecureNode::with(&[("MCP_AUDIT__TO", path.to_str().expect("UTF-8"))]).await;
    let noted = |outcome: &'static str| {
        let path = &path;
        eventually(outcome, move || async move {
            let lines = std::fs::read_to_string(path).unwrap_or_default();
            let is =
                |line: &&str| line.contains(r#""event":"certificate_changed""#) && line.contains(outcome);
            (lines.lines().filter(is).count() == 1).then_some(())
        })
    };
    let fresh = secure.authority.server();
    secure.files.put(&fresh);
    secure.node.hang_up();
    noted(r#""outcome":"in use""#).await;
    secure.files.write("key.pem", &secure.authority.server().key);
    secure.node.hang_up();
    noted(r#""outcome":"unusable""#).await;
    shows(&secure, &fresh).await;
}
