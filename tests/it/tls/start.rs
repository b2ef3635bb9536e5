//! What is told at the start, by `check`, and by `health`.

use super::SecureNode;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};
use crate::support::program::{Done, Program};
use crate::support::tls::{Authority, PemFiles, borrowed};

/// How `mcp-server` ends with these arguments in that environment.
async fn program(arguments: &[&str], env: &[(String, String)]) -> Done {
    let mut env = borrowed(env);
    env.push(("MCP_HTTP__CONNECTIONS_MAX", "500"));
    Program::run(arguments, &env).await
}

#[tokio::test]
async fn files_that_do_not_fit_are_told_of_at_start_and_by_check() {
    let authority = Authority::new("anynode test authority");
    let files = PemFiles::of(&authority.server(), &authority);
    files.write("key.pem", &authority.server().key);
    let options = NodeOptions {
        env: files.env(),
        ..NodeOptions::default()
    };
    let node = Node::spawn(&options);
    assert_eq!(node.end().await.code(), Some(78), "{}", node.log());
    let words = "does not fit the certificate in tls.cert_file";
    assert!(node.log().contains(words), "{}", node.log());

    let line = program(&["check", "--port", "0"], &files.env())
        .await
        .one_line(78);
    assert!(line.contains(words), "{line}");

    files.put(&authority.server());
    let found = program(&["check", "--port", "0"], &files.env()).await.ok();
    assert!(
        found.contains("certificate for localhost, 127.0.0.1, until "),
        "{found}"
    );
}

#[tokio::test]
async fn settings_that_leave_tls_half_done_are_wrong() {
    let authority = Authority::new("anynode test authority");
    let files = PemFiles::of(&authority.server(), &authority);
    let path = |name| files.path(name).display().to_string();
    for (env, words) in [
        (vec![("MCP_TLS__CERT_FILE", path("cert.pem"))], "tls.key_file"),
        (vec![("MCP_TLS__KEY_FILE", path("key.pem"))], "tls.cert_file"),
        (
            vec![("MCP_TLS__CLIENT_CA_FILE", path("ca.pem"))],
            "tls.client_certs",
        ),
        (
            vec![("MCP_TLS__CLIENT_CERTS", "required".into())],
            "tls.client_ca_file",
        ),
        (
            vec![("MCP_HTTP__PROXY_PROTOCOL", "true".into())],
            "http.trusted_proxies",
        ),
        (
            vec![
                ("MCP_TLS__CERT_FILE", path("cert.pem")),
                ("MCP_TLS__KEY_FILE", path("key.pem")),
                ("HOST", "unix:/tmp/anynode-tls.sock".into()),
            ],
            "Unix socket",
        ),
    ] {
        let env: Vec<_> = env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let line = program(&["check", "--port", "0"], &env).await.one_line(78);
        assert!(line.contains(words), "{line}");
    }
}

#[tokio::test]
async fn health_is_asked_over_tls() {
    let secure = SecureNode::start().await;
    let mut env = secure.files.env();
    env.push(("PORT".into(), secure.node.port().to_string()));
    // The certificate in the settings is the node's own.
    assert_eq!(program(&["health"], &env).await.ok(), "healthy\n");

    let url = format!("https://localhost:{}/readyz", secure.node.port());
    let ca = secure.files.path("ca.pem").display().to_string();
    program(&["health", "--url", &url, "--ca", &ca], &[]).await.ok();
    let distrusted = program(&["health", "--url", &url], &[]).await.one_line(1);
    assert!(distrusted.contains("--ca"), "{distrusted}");
    assert!(
        secure
            .node
            .log()
            .contains(&format!("listens on   https://127.0.0.1:{}", secure.node.port()))
    );
}

/// Health checks that show no certificate have an address of their own, without TLS.
#[tokio::test]
async fn the_address_of_probes_is_plain() {
    let port = crate::support::process::free_port();
    let address = format!("127.0.0.1:{port}");
    let secure = SecureNode::with(&[("MCP_HTTP__PROBE_LISTEN", &address)]).await;
    let ready = http_get(format!("http://{address}/readyz")).await;
    assert_eq!(ready.expect("an answer").status(), 200);
    let mut env = secure.files.env();
    env.push(("MCP_HTTP__PROBE_LISTEN".into(), address));
    assert_eq!(program(&["health"], &env).await.ok(), "healthy\n");
}
