//! Tokens that only their issuer can read, and an issuer that has OpenID's discovery only.

use serde_json::json;

use super::{NODES, SCOPE};
use crate::support::authorization_server::AuthorizationServer;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::issuer::{INTROSPECTION_CLIENT, INTROSPECTION_SECRET, RESOURCE};
use crate::support::process::eventually;

const MACHINE: (&str, &str) = ("machine", "a-secret-of-the-machine");

#[tokio::test]
async fn an_opaque_token_is_good_until_it_is_revoked() {
    let resource = RESOURCE;
    let options = json!({"format": "opaque", "resources": [resource]});
    let issuer = AuthorizationServer::start(&options).await;
    let introspection = format!("{}/token/introspection", issuer.url());
    let env = [
        ("MCP_AUTH__RESOURCE", resource),
        ("MCP_AUTH__ISSUERS", issuer.url()),
        ("MCP_AUTH__SCOPES", SCOPE),
        ("MCP_AUTH__INTROSPECTION_URL", &introspection),
        ("MCP_AUTH__INTROSPECTION_CLIENT", INTROSPECTION_CLIENT),
        ("MCP_AUTH__INTROSPECTION_SECRET", INTROSPECTION_SECRET),
        ("MCP_AUTH__INTROSPECTION_FRESH", "1s"),
    ];
    let cluster = Cluster::with(NODES, &env).await;
    let form = [("resource", resource), ("scope", SCOPE)];
    let token = issuer.token("/token", MACHINE, &form).await;
    assert!(!token.contains('.'), "it is opaque");
    let client = cluster
        .client()
        .header("authorization", &format!("Bearer {token}"));
    for _ in 0..2 * NODES {
        client.call("echo", json!({"text": "hello"})).await.ok();
    }

    let revoke = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("token", &token)
        .finish();
    let http = http_client().build().expect("a client");
    let revoked = http
        .post(format!("{}/token/revocation", issuer.url()))
        .basic_auth(MACHINE.0, Some(MACHINE.1))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(revoke)
        .send()
        .await
        .expect("an answer");
    assert!(revoked.status().is_success(), "{}", revoked.status());
    for node in cluster.nodes() {
        eventually("a node asks again, and is told", || async {
            let answer = client
                .at(&node.url())
                .call("echo", json!({"text": "hello"}))
                .await;
            (answer.status == 401).then_some(())
        })
        .await;
    }
}

/// Its documents are OpenID's alone, at a URL of their own, and its tokens name no client.
#[tokio::test]
async fn an_issuer_with_openid_discovery_only_is_found() {
    let issuer = AuthorizationServer::start_mock(&json!({"audience": RESOURCE, "scope": SCOPE})).await;
    let env = [
        ("MCP_AUTH__RESOURCE", RESOURCE),
        ("MCP_AUTH__ISSUERS", issuer.url()),
        ("MCP_AUTH__SCOPES", SCOPE),
    ];
    let cluster = Cluster::with(NODES, &env).await;
    for _ in 0..2 {
        let token = issuer.token("/token", ("any", "any"), &[]).await;
        let client = cluster
            .client()
            .header("authorization", &format!("Bearer {token}"));
        for _ in 0..NODES {
            client.call("echo", json!({"text": "hello"})).await.ok();
        }
        // The second token is by a key that the nodes have not seen.
        issuer.add_key().await;
    }
}
