//! TLS and the PROXY protocol behind balancers: nodes that speak both know each client, also where the balancer ends TLS.

use std::net::IpAddr;

use super::NODES;
use super::front::{Front, Kind, Spread};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::process::eventually;
use crate::support::tls::{Authority, PemFiles, borrowed, client_config};

/// One session for each client, and the balancer is believed.
const TRUSTING: [(&str, &str); 2] = [
    ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
    ("MCP_SESSION__PEER_MAX", "1"),
];
const PROXY_PROTOCOL: (&str, &str) = ("MCP_HTTP__PROXY_PROTOCOL", "true");

/// Nodes that speak TLS, and the authority of their certificate.
async fn secure_cluster(env: &[(&str, &str)]) -> (Cluster, Authority, PemFiles) {
    let authority = Authority::new("anynode test authority");
    let files = PemFiles::of(&authority.server(), &authority);
    let with_tls = files.env();
    let env = [borrowed(&with_tls), env.to_vec()].concat();
    (Cluster::with(NODES, &env).await, authority, files)
}

/// A client from that address of this machine, which trusts the authority if there is one.
fn client(url: &str, address: &str, trusted: Option<&Authority>) -> Client {
    let address: IpAddr = address.parse().expect("an address");
    let builder = http_client().local_address(address);
    let builder = match trusted {
        Some(trusted) => builder.tls_backend_preconfigured(client_config(trusted, None)),
        None => builder,
    };
    Client::legacy(url).over(builder.build().expect("a client"))
}

/// Each client has its one session, also if it claims another address.
async fn clients_are_told_apart(kind: Kind, url: &str, trusted: Option<&Authority>) {
    for address in ["127.0.0.2", "127.0.0.3"] {
        client(url, address, trusted).initialize().await.ok();
        let refused = client(url, address, trusted).initialize().await;
        assert_eq!(refused.status, 429, "{kind:?}: {}", refused.body);
        assert!(refused.body.contains("session.peer_max"), "{}", refused.body);
    }
}

async fn addresses_come_by_the_proxy_protocol(kind: Kind) {
    let cluster = Cluster::with(NODES, &[TRUSTING[0], TRUSTING[1], PROXY_PROTOCOL]).await;
    let front = Front::answering(kind, Spread::ProxyProtocol, &cluster, &[], "").await;
    clients_are_told_apart(kind, &front.url(), None).await;
    // The header of HTTP is the client's own word here.
    let spoofed = client(&front.url(), "127.0.0.2", None).header("x-forwarded-for", "192.0.2.7");
    assert_eq!(spoofed.initialize().await.status, 429, "{kind:?}");
}

through_each!(
    clients_are_told_apart_by_the_proxy_protocol,
    addresses_come_by_the_proxy_protocol: haproxy Haproxy, nginx Nginx, envoy Envoy
);

/// The header comes before TLS, which goes through as it is.
async fn tls_goes_through(kind: Kind) {
    let (cluster, authority, _files) = secure_cluster(&[TRUSTING[0], TRUSTING[1], PROXY_PROTOCOL]).await;
    let checks = [(
        "check check-send-proxy",
        "check check-send-proxy check-ssl verify none",
    )];
    let changes = if kind == Kind::Haproxy { &checks[..] } else { &[] };
    let front = Front::spawn(kind, Spread::ProxyProtocol, &cluster, changes, "");
    let url = format!("https://127.0.0.1:{}", front.port());
    eventually("a node answers through it", || async {
        let config = client_config(&authority, None);
        let builder = http_client().tls_backend_preconfigured(config);
        let http = builder.build().expect("a client");
        let answer = http.get(format!("{url}/livez")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    clients_are_told_apart(kind, &url, Some(&authority)).await;
}

through_each!(
    tls_ends_at_the_nodes_behind,
    tls_goes_through: haproxy Haproxy, nginx Nginx, envoy Envoy
);

/// A balancer that ends TLS, and speaks TLS to the nodes again.
async fn balancers_speak_tls(kind: Kind) {
    let haproxy = [(
        "default-server check",
        "default-server check ssl verify none send-proxy-v2 check-send-proxy",
    )];
    let nginx = [(
        "proxy_pass http://nodes;",
        "proxy_pass https://nodes; proxy_ssl_verify off;",
    )];
    let envoy = [(
        "lb_policy: ROUND_ROBIN",
        "lb_policy: ROUND_ROBIN\n      transport_socket: { name: tls, typed_config: { \"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext } }",
    )];
    let (env, changes) = match kind {
        Kind::Haproxy => (&[TRUSTING[0], TRUSTING[1], PROXY_PROTOCOL][..], &haproxy),
        Kind::Nginx => (&TRUSTING[..], &nginx),
        _ => (&TRUSTING[..], &envoy),
    };
    let (cluster, _authority, _files) = secure_cluster(env).await;
    let front = Front::start_with(kind, Spread::RoundRobin, &cluster, changes).await;
    clients_are_told_apart(kind, &front.url(), None).await;
    let client = Client::modern(&front.url());
    let (_, mut stream) = client
        .stream(
            "tools/call",
            serde_json::json!({"name": "countdown", "arguments": {"from": 2, "interval_ms": 200}}),
        )
        .await;
    while let Some(message) = stream.next_message().await {
        if message.get("result").is_some() {
            return;
        }
    }
    panic!("{kind:?}: the stream ended without a result");
}

through_each!(
    nodes_are_asked_by_tls_behind,
    balancers_speak_tls: haproxy Haproxy, nginx Nginx, envoy Envoy
);
