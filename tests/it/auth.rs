//! Nodes that ask who calls: tokens of real issuers, and what clients do with the answers.

use serde_json::{Value, json};

use crate::support::authorization_server::AuthorizationServer;
use crate::support::balancer::Balancer;
use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::issuer::Issuer;
use crate::support::process::free_port;

mod binding;
mod dance;
mod expiry;
mod issuers;
mod lasting;
mod metadata;
mod opaque;
mod requests;
mod scopes;
mod secrets;
mod tokens;

const NODES: usize = 3;
/// What every request needs.
const SCOPE: &str = "mcp:tools";
/// What `remember` may need besides.
const WRITE: &str = "mcp:write";

/// Three nodes behind a balancer without affinity that trust one authorization server.
pub(crate) struct Guarded {
    pub(crate) issuer: AuthorizationServer,
    pub(crate) cluster: Cluster,
    pub(crate) balancer: Balancer,
}

impl Guarded {
    /// With these options of the authorization server; `remember` needs more than other tools.
    pub(crate) async fn start(options: Value) -> Self {
        Self::with(options, &[("MCP_AUTH__TOOL_SCOPES__REMEMBER", WRITE)]).await
    }

    /// The same with this environment for every node, where all tools need the same.
    pub(crate) async fn with(options: Value, env: &[(&str, &str)]) -> Self {
        Self::of(NODES, options, env).await
    }

    /// The same with so many nodes.
    pub(crate) async fn of(nodes: usize, mut options: Value, env: &[(&str, &str)]) -> Self {
        // Clients hold the resource against the URL that they call, so the nodes have to know it.
        let port = free_port();
        let resource = format!("http://127.0.0.1:{port}/mcp");
        options["resources"] = json!([resource]);
        let issuer = AuthorizationServer::start(&options).await;
        let mut all = vec![
            ("MCP_AUTH__RESOURCE", &*resource),
            ("MCP_AUTH__ISSUERS", issuer.url()),
            ("MCP_AUTH__SCOPES", SCOPE),
        ];
        all.extend(env);
        let cluster = Cluster::with(nodes, &all).await;
        let balancer = cluster.balancer_at(port).await;
        Self {
            issuer,
            cluster,
            balancer,
        }
    }

    /// What clients connect to, and what tokens are for.
    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.balancer.url())
    }
}

/// Where a token has to count: three nodes on Redis, and one with the store in memory, that trust this issuer.
async fn stages(issuer: &Issuer, more: &[(&str, &str)]) -> [Cluster; 2] {
    let own = issuer.env();
    let mut env: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.extend(more);
    [Cluster::with(NODES, &env).await, Cluster::alone(&env).await]
}

/// The same client with this token.
fn bearer(client: Client, token: &str) -> Client {
    client.header("authorization", &format!("Bearer {token}"))
}

/// What a client gets for its first request: `initialize`, or a list in the era without. One that has a session asks in that.
async fn call(client: &Client) -> Answer {
    client.first().await
}
