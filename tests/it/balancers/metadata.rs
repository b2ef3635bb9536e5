//! Where clients find the issuer of their tokens, through each balancer; what nodes say of themselves stays inside.

use super::NODES;
use super::front::{Front, Kind, Spread};
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::issuer::Issuer;
use crate::support::process::until;

const WELL_KNOWN: &str = "/.well-known/oauth-";

async fn clients_find_the_issuer(kind: Kind) {
    let issuer = Issuer::start().await;
    let own = issuer.env();
    let mut env: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.push(("MCP_AUTH__MIRROR", "true"));
    let cluster = Cluster::with(NODES, &env).await;
    for spread in [Spread::RoundRobin, Spread::SessionHash] {
        let front = Front::answering(kind, spread, &cluster, &[], "").await;
        let status = async |path: &str| {
            let answer = http_get(format!("{}{path}", front.url())).await;
            answer.expect("an answer").status().as_u16()
        };
        for path in [
            "protected-resource/mcp",
            "protected-resource",
            "authorization-server",
        ] {
            // What the issuer says is there once a node has asked it.
            let path = format!("{WELL_KNOWN}{path}");
            until(&format!("{kind:?}: {path}"), async || status(&path).await == 200).await;
        }
        for path in ["/metrics", "/health", "/readyz", "/.well-known/security.txt"] {
            assert_eq!(status(path).await, 404, "{kind:?}: {path}");
        }
    }
}

through_each!(each_hands_metadata_on, clients_find_the_issuer);
