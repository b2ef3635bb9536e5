//! Handshakes: versions, those that never end, and clients that speak something else.

use std::process::{Command, Stdio};

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{HANDSHAKE_PATIENCE, SecureNode};
use crate::support::client::Client;
use crate::support::http::{http_client, http_get};
use crate::support::process::until;
use crate::support::tls::{client_config, connect, http};

/// The first bytes of a client's first message, which promise more.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

async fn opened(secure: &SecureNode) -> TcpStream {
    TcpStream::connect(("127.0.0.1", secure.node.port()))
        .await
        .expect("a connection")
}

async fn handshakes(secure: &SecureNode, outcome: &str) -> u64 {
    let series = format!("anynode_tls_handshakes_total{{outcome=\"{outcome}\"}}");
    secure.counted(&series).await
}

#[tokio::test]
async fn a_handshake_that_never_ends_holds_nobody_up_and_is_ended() {
    let secure = SecureNode::start().await;
    let began = Instant::now();
    let mut held = Vec::new();
    for index in 0..200 {
        let mut stream = opened(&secure).await;
        if index % 2 == 0 {
            stream.write_all(HALF_A_HELLO).await.expect("some bytes");
        }
        held.push(stream);
    }
    let client = Client::legacy(&secure.node.url()).over(http(&secure.authority, None));
    client.list().await.ok();
    assert!(
        began.elapsed().as_secs() < 10,
        "others wait: {:?}",
        began.elapsed()
    );
    let ended = held.iter_mut().map(|stream| async {
        let read = timeout(HANDSHAKE_PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        read.is_ok()
    });
    assert!(join_all(ended).await.iter().all(|ended| *ended));
    assert_eq!(handshakes(&secure, "late").await, 200);
}

/// A connection in its handshake counts like any other.
#[tokio::test]
async fn connections_in_their_handshake_are_bounded() {
    let secure = SecureNode::with(&[
        ("MCP_HTTP__CONNECTIONS_MAX", "100"),
        ("MCP_HTTP__CONNECTIONS_PEER_MAX", "20"),
    ])
    .await;
    let mut held = join_all((0..20).map(|_| opened(&secure))).await;
    // One that keeps its connection would be served for ever if it came in while another left.
    let newcomer = || Client::legacy(&secure.node.url()).over(http(&secure.authority, None));
    until("the share is used up", async || {
        held.push(opened(&secure).await);
        newcomer().initialize().await.status == 429
    })
    .await;
    drop(held);
    until("there is room again", async || {
        newcomer().initialize().await.status == 200
    })
    .await;
}

/// What `openssl s_client` says of a handshake, with these arguments.
fn s_client(secure: &SecureNode, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", secure.node.port()),
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs: apt-get install openssl");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn openssl_gets_the_versions_that_are_safe_and_no_other() {
    let secure = SecureNode::start().await;
    for (version, words) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&secure, &[version, "-alpn", "http/1.1"]);
        assert!(said.contains(&format!("New, {words}")), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
        assert!(!said.contains("TLS session ticket:"), "{said}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let said = s_client(&secure, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.contains("New, (NONE)"), "{old}: {said}");
    }
    let said = s_client(&secure, &["-alpn", "h2"]);
    assert!(
        said.contains("no application protocol") || said.contains("alert"),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_that_speaks_http_is_told_so() {
    let secure = SecureNode::start().await;
    let plain = secure.node.url().replace("https://", "http://");
    let answer = http_get(format!("{plain}/livez")).await.expect("an answer");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.expect("text").contains("https"));
    // One that has much to say reads the answer too.
    let body = "x".repeat(1 << 20);
    let sent = http_client()
        .build()
        .expect("a client")
        .post(format!("{plain}/mcp"))
        .body(body)
        .send()
        .await;
    assert_eq!(sent.expect("an answer").status(), 400);
    assert_eq!(handshakes(&secure, "plain_http").await, 2);
}

#[tokio::test]
async fn bytes_at_random_do_no_harm() {
    let secure = SecureNode::start().await;
    for round in 0..300 {
        let mut stream = opened(&secure).await;
        let length = rand::random_range(1..400);
        let mut bytes: Vec<u8> = (0..length).map(|_| rand::random()).collect();
        if round % 2 == 0 {
            bytes.splice(0..0, HALF_A_HELLO.iter().copied());
        }
        // The node may have closed it already.
        drop(stream.write_all(&bytes).await);
    }
    connect(secure.node.port(), client_config(&secure.authority, None))
        .await
        .expect("the node goes on");
    assert!(!secure.node.log().contains("panicked"));
}
