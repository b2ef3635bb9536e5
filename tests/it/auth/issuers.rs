//! Issuers that are down, slow or wrong, and keys that change: no good token is thrown away for it, and no bad one counts.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::json;

use super::{bearer, call, stages};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::issuer::keys::{Algorithm, SigningKey};
use crate::support::issuer::{Conduct, Discovery, Issuer, Part};
use crate::support::process::eventually;

fn client(cluster: &Cluster, token: &str) -> Client {
    bearer(Client::modern(&cluster.node(0).url()), token)
}

/// T13: a good token is 503 while nobody can tell, never 401; the node itself is well.
#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_503_and_no_logout() {
    let conducts = [
        Conduct::Status(500),
        Conduct::Redirect("http://127.0.0.1:1/".into()),
        Conduct::Huge(300 << 10),
        Conduct::Text("<html>".into()),
        Conduct::Text("{}".into()),
    ];
    for conduct in conducts {
        let issuer = Issuer::start().await;
        issuer.conduct_everywhere(&conduct);
        let token = issuer.token(|token| token);
        for cluster in stages(&issuer, &[]).await {
            let answer = call(&client(&cluster, &token)).await;
            assert_eq!(answer.status, 503, "{conduct:?}: {}", answer.body);
            assert_eq!(answer.header("retry-after"), Some("5"), "{conduct:?}");
            assert_eq!(answer.header("www-authenticate"), None, "{conduct:?}");
            let ready = http_get(format!("{}/readyz", cluster.node(0).url()))
                .await
                .expect("an answer");
            assert_eq!(ready.status().as_u16(), 200, "{conduct:?}");
        }
    }
}

#[tokio::test]
async fn an_issuer_that_comes_back_is_found_again() {
    let issuer = Issuer::start().await;
    issuer.down().await;
    let token = issuer.token(|token| token);
    for cluster in stages(&issuer, &[]).await {
        let client = client(&cluster, &token);
        assert_eq!(call(&client).await.status, 503);
        let health = http_get(format!("{}/health", cluster.node(0).url()))
            .await
            .expect("an answer");
        let health: serde_json::Value =
            serde_json::from_str(&health.text().await.expect("a body")).expect("JSON");
        assert_eq!(health["issuers"][0]["reachable"], false, "{health}");
        issuer.up().await;
        eventually("its tokens count", || async {
            (call(&client).await.status == 200).then_some(())
        })
        .await;
        issuer.down().await;
        // What is known goes on counting.
        client.list().await.ok();
        let another = self::client(&cluster, &issuer.token(|token| token.sub("bob")));
        another.list().await.ok();
    }
}

/// A frozen issuer holds up nobody but those whose tokens it must tell of.
#[tokio::test]
async fn an_issuer_that_never_answers_is_waited_for_so_long_and_no_longer() {
    let issuer = Issuer::start().await;
    issuer.conduct_everywhere(&Conduct::Frozen);
    let token = issuer.token(|token| token);
    let env = [("MCP_AUTH__TOKENS__STATIC", "a-long-enough-token")];
    for cluster in stages(&issuer, &env).await {
        let began = tokio::time::Instant::now();
        let many = (0..100).map(|_| async { call(&client(&cluster, &token)).await.status });
        let known = client(&cluster, "a-long-enough-token");
        let (statuses, known) = tokio::join!(futures::future::join_all(many), known.list());
        known.ok();
        assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

/// T13, T16: introspection that is down, and keys that are too old.
#[tokio::test]
async fn what_is_known_ends_where_the_settings_say() {
    for nodes in [1, 3] {
        let issuer = Issuer::start().await;
        let own = issuer.env_with_introspection();
        let mut env: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        env.extend([("MCP_AUTH__KEYS_FRESH", "1s"), ("MCP_AUTH__KEYS_STALE", "8s")]);
        let cluster = match nodes {
            1 => Cluster::alone(&env).await,
            _ => Cluster::with(nodes, &env).await,
        };
        let (opaque, jwt) = (issuer.opaque(|token| token), issuer.token(|token| token));
        client(&cluster, &opaque).list().await.ok();
        client(&cluster, &jwt).list().await.ok();
        issuer.conduct_everywhere(&Conduct::Status(500));
        client(&cluster, &opaque).list().await.ok();
        let fresh = issuer.opaque(|token| token);
        assert_eq!(call(&client(&cluster, &fresh)).await.status, 503);
        // Other tokens are verified with the known keys, until these are too old.
        let another = || issuer.token(|token| token);
        client(&cluster, &another()).list().await.ok();
        eventually("the keys are too old", || async {
            (call(&client(&cluster, &another())).await.status == 503).then_some(())
        })
        .await;
        issuer.conduct_everywhere(&Conduct::Well);
        eventually("they are fetched again", || async {
            (call(&client(&cluster, &another())).await.status == 200).then_some(())
        })
        .await;
    }
}

/// T17: made-up key ids cost an issuer nothing, and others nothing.
#[tokio::test]
async fn made_up_keys_are_asked_for_once_in_a_while() {
    let issuer = Issuer::start().await;
    let good = issuer.token(|token| token);
    for cluster in stages(&issuer, &[]).await {
        for node in cluster.nodes() {
            bearer(Client::modern(&node.url()), &good).list().await.ok();
        }
        let before = issuer.key_fetches();
        let flood = (0..2000).map(|number| {
            let token = issuer.token(|token| token.header("kid", format!("made-up-{number}")));
            let client = bearer(Client::modern(&cluster.turn(number).url()), &token);
            async move { call(&client).await.status }
        });
        let flood = stream::iter(flood).buffer_unordered(50);
        let statuses: Vec<u16> = flood.collect().await;
        assert!(
            statuses.iter().all(|status| [401, 503].contains(status)),
            "{statuses:?}"
        );
        let fetches = issuer.key_fetches() - before;
        assert!(fetches <= cluster.nodes().len(), "{fetches} fetches");
        client(&cluster, &good).list().await.ok();
        let another = issuer.token(|token| token.sub("bob"));
        client(&cluster, &another).list().await.ok();
    }
}

/// T18, and rotation: a new key, and another one under the name of the old. The first has the keys asked for at once, the next 30 s
/// later at the soonest.
#[tokio::test]
async fn a_new_key_is_found_and_so_is_another_under_the_same_name() {
    let issuer = Issuer::start().await;
    let clusters = stages(&issuer, &[]).await;
    let old = issuer.token(|token| token);
    for cluster in &clusters {
        client(cluster, &old).list().await.ok();
    }
    issuer.rotate("key-1", Algorithm::Es256);
    let new = issuer.token(|token| token);
    for cluster in &clusters {
        client(cluster, &new).list().await.ok();
        let answer = call(&client(cluster, &old)).await;
        assert_eq!(answer.status, 401, "a key that is gone still counts");
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    issuer.rotate("key-2", Algorithm::EdDsa);
    let newer = issuer.token(|token| token);
    for cluster in &clusters {
        client(cluster, &newer).list().await.ok();
    }
}

/// T19: one odd key takes none of the others away, and too many are none.
#[tokio::test]
async fn odd_keys_are_left_out() {
    let issuer = Issuer::start().await;
    let key = issuer.key().jwk();
    issuer.publish(vec![
        json!({ "kty": "AKP", "kid": "a" }),
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "b" }),
        json!("odd"),
        key,
    ]);
    let token = issuer.token(|token| token);
    for cluster in stages(&issuer, &[]).await {
        client(&cluster, &token).list().await.ok();
        let symmetric = issuer.token(|token| token.hs256(b"secret").header("kid", "b"));
        assert_eq!(call(&client(&cluster, &symmetric)).await.status, 401);
    }
}

/// Two issuers with keys of one name are kept apart, and so are their users.
#[tokio::test]
async fn issuers_are_kept_apart() {
    let (one, other) = (Issuer::start().await, Issuer::start_at("/other").await);
    let issuers = format!("{},{}", one.url(), other.url());
    let env = [
        ("MCP_AUTH__RESOURCE", crate::support::issuer::RESOURCE),
        ("MCP_AUTH__ISSUERS", issuers.as_str()),
    ];
    for cluster in [Cluster::with(3, &env).await, Cluster::alone(&env).await] {
        let of = |token: String| bearer(Client::legacy(&cluster.node(0).url()), &token);
        let (alice, namesake) = (of(one.token(|t| t)), of(other.token(|t| t)));
        let session = alice.session().await.to_owned();
        namesake.list().await.ok();
        assert_eq!(call(&namesake.in_session(&session)).await.status, 404);
        let crossed = one.token(|token| token.claim("iss", other.url()));
        assert_eq!(
            call(&of(crossed)).await.status,
            401,
            "a key of one issuer signs for the other"
        );
    }
}

/// Each place where metadata may be is tried, and only the issuer's own counts.
#[tokio::test]
async fn keys_are_found_by_each_kind_of_metadata() {
    for place in [
        Discovery::OAuth,
        Discovery::OpenIdInserted,
        Discovery::OpenIdAppended,
    ] {
        let issuer = Issuer::start_at("/realms/main").await;
        issuer.documents(&[place]);
        let cluster = &stages(&issuer, &[]).await[1];
        client(cluster, &issuer.token(|token| token)).list().await.ok();
    }
    let lying = Issuer::start().await;
    lying.lie("issuer", "https://other.example");
    let cluster = &stages(&lying, &[]).await[1];
    assert_eq!(
        call(&client(cluster, &lying.token(|token| token))).await.status,
        503
    );
    let unsafe_keys = Issuer::start().await;
    unsafe_keys.lie("jwks_uri", "http://keys.example/jwks");
    let cluster = &stages(&unsafe_keys, &[]).await[1];
    assert_eq!(
        call(&client(cluster, &unsafe_keys.token(|token| token)))
            .await
            .status,
        503
    );
}

#[tokio::test]
async fn every_algorithm_of_the_settings_is_verified_and_no_other() {
    let issuer = Issuer::start().await;
    let all = [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::EdDsa,
        Algorithm::Es384,
    ];
    let keys = all.map(|algorithm| Arc::new(SigningKey::new(algorithm.name(), algorithm)));
    issuer.publish(keys.iter().map(|key| key.jwk()).collect());
    let cluster = &stages(&issuer, &[]).await[1];
    for key in keys {
        let name = key.algorithm().name().to_owned();
        let token = issuer.token(|token| token.signed_by(key));
        let status = call(&client(cluster, &token)).await.status;
        assert_eq!(status, if name == "ES384" { 401 } else { 200 }, "{name}");
    }
}

#[tokio::test]
async fn keys_may_be_where_the_settings_say() {
    let issuer = Issuer::start().await;
    issuer.conduct(Part::Discovery, Conduct::Status(404));
    let keys_url = issuer.keys_url();
    let cluster = &stages(&issuer, &[("MCP_AUTH__KEYS_URL", &keys_url)]).await[1];
    client(cluster, &issuer.token(|token| token)).list().await.ok();
}
