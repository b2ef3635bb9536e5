//! Certificates of clients: who is let in, and who is not.

use rcgen::{CertificateParams, DnType, SanType};

use super::SecureNode;
use crate::support::client::Client;
use crate::support::http::http_client;
use crate::support::node::{Node, NodeOptions};
use crate::support::tls::{Authority, Pair, PemFiles, client_config, connect, http, of_versions};

fn named(params: &mut CertificateParams) {
    let uri = "spiffe://example.com/ann".try_into().expect("a URI");
    params.subject_alt_names = vec![SanType::URI(uri)];
}

/// A node that asks clients for certificates, and an authority that vouches for them.
async fn asking(client_certs: &str, principal: &str) -> (SecureNode, Authority) {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = PemFiles::of(&authority.server(), &clients);
    let env = files.env_asking(client_certs, principal);
    let options = NodeOptions {
        env,
        ..NodeOptions::default()
    };
    let node = Node::start(&options).await;
    (
        SecureNode {
            authority,
            files,
            node,
        },
        clients,
    )
}

/// Whether a client with that certificate gets an answer, in each version of TLS.
async fn gets_in(secure: &SecureNode, own: Option<&Pair>) -> bool {
    let mut outcomes = Vec::new();
    for version in rustls::ALL_VERSIONS {
        let config = of_versions(&secure.authority, own, &[version]);
        let builder = http_client();
        let http = builder
            .tls_backend_preconfigured(config)
            .build()
            .expect("a client");
        let sent = http.get(format!("{}/livez", secure.node.url())).send().await;
        outcomes.push(sent.is_ok_and(|answer| answer.status() == 200));
    }
    assert_eq!(outcomes[0], outcomes[1], "1.3 and 1.2 differ");
    outcomes[0]
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let (secure, clients) = asking("required", "uri").await;
    assert!(!gets_in(&secure, None).await);
    let ann = clients.pair(named);
    assert!(gets_in(&secure, Some(&ann)).await);
    // One of another authority, and one that names nobody in the way that is asked for.
    assert!(!gets_in(&secure, Some(&Authority::new("others").pair(named))).await);
    let nameless = clients.pair(|params| params.distinguished_name.push(DnType::CommonName, "ann"));
    assert!(!gets_in(&secure, Some(&nameless)).await);
    let expired = clients.pair(|params| {
        named(params);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    assert!(!gets_in(&secure, Some(&expired)).await);
    let client = Client::legacy(&secure.node.url()).over(http(&secure.authority, Some(&ann)));
    client.list().await.ok();
    assert!(
        secure
            .node
            .log()
            .contains("certificate is missing, or is not accepted")
    );
}

#[tokio::test]
async fn a_client_may_show_a_certificate_or_none_where_it_is_optional() {
    let (secure, clients) = asking("optional", "cn").await;
    assert!(gets_in(&secure, None).await);
    let ann = clients.pair(|params| params.distinguished_name.push(DnType::CommonName, "ann"));
    assert!(gets_in(&secure, Some(&ann)).await);
    // Who shows one means it.
    let unknown = Authority::new("others").pair(|params| {
        params.distinguished_name.push(DnType::CommonName, "ann");
    });
    assert!(!gets_in(&secure, Some(&unknown)).await);
    let refused = secure
        .counted("anynode_tls_handshakes_total{outcome=\"client_certificate\"}")
        .await;
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn authorities_of_clients_change_with_the_file() {
    let (secure, clients) = asking("required", "uri").await;
    let (ann, successor) = (clients.pair(named), Authority::new("clients of tomorrow"));
    assert!(gets_in(&secure, Some(&ann)).await);
    secure.files.write("ca.pem", successor.pem());
    secure.node.hang_up();
    let newcomer = successor.pair(named);
    crate::support::process::until("the new authority counts", async || {
        let config = client_config(&secure.authority, Some(&ann));
        let _old = connect(secure.node.port(), config).await;
        gets_in(&secure, Some(&newcomer)).await
    })
    .await;
    assert!(!gets_in(&secure, Some(&ann)).await);
}
