//! How a client without credentials finds who issues them: the challenge, and the metadata that it names.

use serde_json::{Value, json};

use super::{call, stages};
use crate::support::client::Client;
use crate::support::http::{http_client, http_get};
use crate::support::issuer::{Issuer, RESOURCE};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// T36: metadata is there for everybody, at path and root, and nothing else below `/.well-known` is.
#[tokio::test]
async fn metadata_is_told_to_everybody() {
    let issuer = Issuer::start().await;
    let http = http_client().build().expect("a client");
    for cluster in stages(
        &issuer,
        &[("MCP_AUTH__SCOPES", "mcp:tools"), ("MCP_AUTH__MIRROR", "true")],
    )
    .await
    {
        let url = cluster.node(0).url();
        for (path, resource) in [
            ("", RESOURCE),
            ("/mcp", RESOURCE),
            ("/sse", "https://mcp.example.com/sse"),
        ] {
            // T34: what a client or a proxy says of the host changes nothing.
            let asked = http
                .get(format!("{url}{WELL_KNOWN}{path}"))
                .header("x-forwarded-host", "evil.example");
            let answer = asked
                .header("origin", "https://page.example")
                .send()
                .await
                .expect("an answer");
            assert_eq!(answer.status().as_u16(), 200, "{path}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "*");
            assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
            assert_eq!(answer.headers()["content-type"], "application/json");
            let told: Value = answer.json().await.expect("JSON");
            assert_eq!(told["resource"], resource, "{path}");
            assert_eq!(told["authorization_servers"], json!([issuer.url()]));
            assert_eq!(told["scopes_supported"], json!(["mcp:tools"]));
            let head = http
                .head(format!("{url}{WELL_KNOWN}{path}"))
                .send()
                .await
                .expect("an answer");
            assert_eq!(head.status().as_u16(), 200);
            let asks = http.request(
                "OPTIONS".parse().expect("a method"),
                format!("{url}{WELL_KNOWN}{path}"),
            );
            let asks = asks
                .header("origin", "https://page.example")
                .header("access-control-request-method", "GET");
            assert_eq!(asks.send().await.expect("an answer").status().as_u16(), 204);
        }
        for other in [
            "/.well-known/openid-configuration",
            "/.well-known/oauth-protected-resource/x",
            "/.well-known/a",
        ] {
            let answer = http.get(format!("{url}{other}")).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 404, "{other}");
            assert_eq!(answer.headers()["content-type"], "application/json", "{other}");
        }
        // Clients of 2025-03-26 look here for the issuer itself.
        let mirror = crate::support::process::eventually("the issuer was asked", || async {
            let answer = http
                .get(format!("{url}/.well-known/oauth-authorization-server"))
                .send()
                .await
                .ok()?;
            (answer.status().as_u16() == 200).then_some(answer)
        });
        let mirror: Value = mirror.await.json().await.expect("JSON");
        assert_eq!(mirror["token_endpoint"], format!("{}/token", issuer.url()));
    }
}

#[tokio::test]
async fn a_client_without_credentials_is_told_where_to_look() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[("MCP_AUTH__SCOPES", "mcp:tools")]).await {
        let answer = call(&Client::legacy(&cluster.node(0).url())).await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(
                "Bearer realm=\"anynode\", scope=\"mcp:tools\", \
                 resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\""
            )
        );
        assert_eq!(issuer.fetches("/introspect"), 0);
    }
}

#[tokio::test]
async fn without_issuers_there_is_no_metadata() {
    let cluster =
        crate::support::cluster::Cluster::alone(&[("MCP_AUTH__TOKENS__A", "a-long-enough-token")]).await;
    let url = cluster.node(0).url();
    for path in [WELL_KNOWN, "/.well-known/oauth-authorization-server"] {
        let answer = http_get(format!("{url}{path}")).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 404, "{path}");
    }
}
