//! Which tokens count: on each node alike, and what is said of those that do not.

use std::time::Duration;

use serde_json::{Value, json};

use super::{bearer, call, stages};
use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::issuer::keys::{Algorithm, SigningKey, encode};
use crate::support::issuer::token::{TokenDraft, tampered};
use crate::support::issuer::{Issuer, RESOURCE};

type Change = fn(TokenDraft) -> TokenDraft;

/// Tokens that say something else than they must, and what is said of each.
const WRONG: [(&str, Change, &str); 33] = [
    ("expired", |t| t.ends_in(-61), "expired"),
    ("exp is text", |t| t.claim("exp", "1900000000"), "malformed"),
    ("no exp", |t| t.without("exp"), "malformed"),
    ("exp is null", |t| t.claim("exp", Value::Null), "malformed"),
    ("not yet", |t| t.begins_in(120), "not yet valid"),
    ("nbf is text", |t| t.claim("nbf", "0"), "malformed"),
    (
        "issued in the future",
        |t| t.claim("iat", 4_000_000_000_i64),
        "not yet valid",
    ),
    (
        "iss is a list",
        |t| t.claim("iss", json!(["http://127.0.0.1"])),
        "malformed",
    ),
    (
        "another issuer",
        |t| t.claim("iss", "https://other.example"),
        "issuer",
    ),
    ("no iss", |t| t.without("iss"), "malformed"),
    ("no aud", |t| t.without("aud"), "audience"),
    ("aud is null", |t| t.aud(Value::Null), "audience"),
    ("aud is empty", |t| t.aud(json!([])), "audience"),
    ("aud is nested", |t| t.aud(json!([[RESOURCE]])), "malformed"),
    ("aud is a number", |t| t.aud(7), "malformed"),
    (
        "aud is another server",
        |t| t.aud("https://other.example/mcp"),
        "audience",
    ),
    (
        "aud with a slash more",
        |t| t.aud(format!("{RESOURCE}/")),
        "audience",
    ),
    (
        "aud in other letters",
        |t| t.aud(RESOURCE.to_uppercase()),
        "audience",
    ),
    (
        "aud is what it begins with",
        |t| t.aud("https://mcp.example.com"),
        "audience",
    ),
    (
        "aud on another port",
        |t| t.aud("https://mcp.example.com:8443/mcp"),
        "audience",
    ),
    ("nobody", |t| t.without("sub").without("client_id"), "malformed"),
    ("sub is a number", |t| t.claim("sub", 7), "malformed"),
    ("an id token by its typ", |t| t.claim("typ", "ID"), "malformed"),
    ("a refresh token", |t| t.claim("typ", "Refresh"), "malformed"),
    ("a logout token", |t| t.claim("typ", "Logout"), "malformed"),
    ("an id token by its nonce", |t| t.claim("nonce", "n"), "malformed"),
    ("an id token by at_hash", |t| t.claim("at_hash", "h"), "malformed"),
    (
        "bound to a key",
        |t| t.claim("cnf", json!({ "jkt": "x" })),
        "malformed",
    ),
    (
        "bound to a certificate",
        |t| t.claim("cnf", json!({ "x5t#S256": "x" })),
        "malformed",
    ),
    (
        "another typ in its header",
        |t| t.header("typ", "logout+jwt"),
        "malformed",
    ),
    ("crit", |t| t.header("crit", json!(["exp"])), "malformed"),
    ("no such key", |t| t.header("kid", "other"), "signature"),
    (
        "an algorithm that is no text",
        |t| t.header("alg", 7),
        "malformed",
    ),
];

#[tokio::test]
async fn a_good_token_counts_on_every_node_in_either_era() {
    let issuer = Issuer::start().await;
    let token = issuer.token(|token| token);
    for cluster in stages(&issuer, &[]).await {
        for node in cluster.nodes() {
            for client in [Client::legacy(&node.url()), Client::modern(&node.url())] {
                let seen = bearer(client, &token).call("whoami", json!({})).await.ok();
                let principal = format!("{}#alice", issuer.url());
                assert_eq!(seen.structured()["principal"], principal);
                assert_eq!(seen.structured()["scopes"], json!(["mcp:tools"]));
            }
        }
    }
}

/// Fails the test unless that token is refused everywhere as invalid, for this reason.
async fn refused(cluster: &Cluster, what: &str, token: &str, reasons: &[&str]) {
    for node in cluster.nodes() {
        for client in [Client::legacy(&node.url()), Client::modern(&node.url())] {
            let answer = call(&bearer(client, token)).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.body);
            let told = answer.header("www-authenticate").expect("a challenge");
            let fits = |reason: &&str| told.contains(&format!("error_description=\"{reason}\""));
            assert!(
                told.contains("error=\"invalid_token\"") && reasons.iter().any(fits),
                "{what}: {told}"
            );
            assert!(!answer.body.contains(token), "{what}: the token is repeated");
        }
    }
}

/// T14, T20, T22, T23, T24: what a token must say, each of the right type.
#[tokio::test]
async fn a_token_that_says_something_else_is_401_and_never_5xx() {
    let issuer = Issuer::start_at("/realms/main").await;
    for cluster in stages(&issuer, &[]).await {
        for (what, change, reason) in &WRONG {
            let token = issuer.token(change);
            // Of a claim that is missing or null either may be said.
            refused(&cluster, what, &token, &[reason, "malformed", "audience"]).await;
        }
        let good = issuer.token(|token| token);
        refused(&cluster, "tampered", &tampered(&good), &["signature"]).await;
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        for broken in [
            "x".into(),
            "..".into(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{claims}.{header}.{signature}"),
            format!("{header}.{claims}.{signature}.x.y"),
            format!("{}.{claims}.{signature}", encode(b"{")),
            format!("{header}.{}.{signature}", encode(b"[]")),
        ] {
            refused(
                &cluster,
                &broken,
                &broken,
                &["signature", "malformed", "unknown token"],
            )
            .await;
        }
        bearer(Client::legacy(&cluster.node(0).url()), &good)
            .list()
            .await
            .ok();
    }
}

/// T21: neither the algorithm nor the key is the token's choice, and nothing is fetched that it names.
#[tokio::test]
async fn a_token_does_not_choose_its_key() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let rsa = std::sync::Arc::new(SigningKey::new("rsa", Algorithm::Rs256));
    issuer.publish(vec![issuer.key().jwk(), rsa.jwk()]);
    let own = std::sync::Arc::new(SigningKey::new("key-1", Algorithm::Es256));
    let secret = issuer.key().jwk().to_string();
    let url = other.keys_url();
    let jwk = own.jwk();
    let tokens = [
        ("none", issuer.token(TokenDraft::unsigned)),
        (
            "HS256 with the public key",
            issuer.token(|t| t.hs256(secret.as_bytes())),
        ),
        (
            "RS256 on a key for ES256",
            issuer.token(|t| t.header("alg", "RS256")),
        ),
        (
            "ES256 on a key for RS256",
            issuer.token(|t| t.signed_by(rsa.clone()).header("alg", "ES256")),
        ),
        (
            "PS256 on a key that names RS256",
            issuer.token(|t| t.signed_by(rsa.clone()).header("alg", "PS256")),
        ),
        (
            "jku",
            issuer.token(|t| t.signed_by(own.clone()).header("jku", url.clone())),
        ),
        (
            "x5u",
            issuer.token(|t| t.signed_by(own.clone()).header("x5u", url.clone())),
        ),
        (
            "jwk",
            issuer.token(|t| t.signed_by(own.clone()).header("jwk", jwk.clone())),
        ),
        ("its own key", issuer.token(|t| t.signed_by(own.clone()))),
    ];
    for cluster in stages(&issuer, &[]).await {
        for (what, token) in &tokens {
            refused(&cluster, what, token, &["signature", "malformed"]).await;
        }
        let good = issuer.token(|t| t.signed_by(rsa.clone()));
        bearer(Client::legacy(&cluster.node(0).url()), &good)
            .list()
            .await
            .ok();
    }
    assert_eq!(other.all_fetches(), 0, "a URL of a token was asked");
}

/// T22: audiences beside the server's own URL are those that the settings name.
#[tokio::test]
async fn other_audiences_are_those_of_the_settings() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[("MCP_AUTH__AUDIENCES", "client-7,api://mcp")]).await {
        for audience in [
            json!("client-7"),
            json!(["account", "api://mcp"]),
            json!(RESOURCE),
            json!("https://mcp.example.com/sse"),
        ] {
            let token = issuer.token(|t| t.aud(audience.clone()));
            bearer(Client::legacy(&cluster.node(0).url()), &token)
                .list()
                .await
                .ok();
        }
        let token = issuer.token(|t| t.aud("client-8"));
        refused(&cluster, "another client", &token, &["audience"]).await;
    }
}

/// T41: where a token may stand, and how often.
#[tokio::test]
async fn a_token_stands_once_in_its_header() {
    let issuer = Issuer::start().await;
    let token = issuer.token(|token| token);
    let http = http_client().build().expect("a client");
    for cluster in stages(&issuer, &[]).await {
        let url = cluster.node(0).url();
        let asked = |scheme: &str| {
            let client = Client::legacy(&url).header("authorization", &format!("{scheme} {token}"));
            async move { call(&client).await.status }
        };
        for scheme in ["bearer", "BEARER", "Bearer  "] {
            assert_eq!(asked(scheme).await, 200, "{scheme}");
        }
        for scheme in ["Basic", "DPoP", "Token", "", "Bearer,"] {
            assert_eq!(asked(scheme).await, 401, "{scheme}");
        }
        let twice = bearer(bearer(Client::legacy(&url), &token), &token);
        assert_eq!(call(&twice).await.status, 400);
        // Also beside a good one in its header.
        for in_header in [None, Some(&token)] {
            let mut in_query = http.get(format!("{url}/mcp?access_token={token}"));
            if let Some(token) = in_header {
                in_query = in_query.bearer_auth(token);
            }
            let in_query = Answer::read(in_query.send().await.expect("an answer")).await;
            assert_eq!(in_query.status, 400, "{}", in_query.body);
            assert!(
                in_query
                    .header("www-authenticate")
                    .is_some_and(|told| told.contains("invalid_request"))
            );
            assert!(!in_query.body.contains(&token));
        }
        let long = issuer.token(|t| t.claim("x", "x".repeat(16 << 10)));
        let long = call(&bearer(Client::legacy(&url), &long)).await.status;
        assert!([401, 431].contains(&long), "{long}");
    }
}

/// T15: credentials that are sent are checked, also where none are asked for.
#[tokio::test]
async fn a_bad_token_is_not_served_as_nobody() {
    let issuer = Issuer::start().await;
    let env = [
        ("MCP_AUTH__OPTIONAL", "true"),
        ("MCP_AUTH__TOOL_SCOPES__REMEMBER", "mcp:write"),
    ];
    for cluster in stages(&issuer, &env).await {
        let nobody = Client::legacy(&cluster.node(0).url());
        let seen = nobody.call("whoami", json!({})).await.ok();
        assert_eq!(seen.structured().get("principal"), None);
        refused(
            &cluster,
            "expired",
            &issuer.token(|t| t.ends_in(-100)),
            &["expired"],
        )
        .await;
        refused(&cluster, "no token", "guess", &["unknown token"]).await;
        // What needs scopes is asked for with the credentials that are missing.
        let asked = nobody.call("remember", json!({ "key": "a", "value": "b" })).await;
        assert_eq!(asked.status, 401, "{}", asked.body);
        let told = asked.header("www-authenticate").expect("a challenge");
        assert!(
            told.contains("scope=\"mcp:write\"") && !told.contains("error="),
            "{told}"
        );
    }
}

/// T10: a proxy's header counts only from a proxy.
#[tokio::test]
async fn only_a_trusted_proxy_names_principals() {
    let trusted = [
        ("MCP_AUTH__PROXY_HEADER", "x-user"),
        ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.2"),
    ];
    for cluster in [Cluster::with(3, &trusted).await, Cluster::alone(&trusted).await] {
        let url = cluster.node(0).url();
        let alice = Client::legacy(&url).header("x-user", "alice");
        assert_eq!(call(&alice).await.status, 401, "a client's own header counts");
        let by_proxy = alice.clone().from([127, 0, 0, 2].into());
        let seen = by_proxy.call("whoami", json!({})).await.ok();
        assert_eq!(seen.structured()["principal"], "proxy:alice");
        let unnamed = Client::legacy(&url).from([127, 0, 0, 2].into());
        assert_eq!(call(&unnamed).await.status, 401);
        let twice = by_proxy.clone().header("x-user", "bob");
        assert_eq!(call(&twice).await.status, 400);
    }
}

/// Opaque tokens: who is asked, for how long the answer counts, and what happens when nobody answers.
#[tokio::test]
async fn opaque_tokens_are_asked_about() {
    let issuer = Issuer::start().await;
    let own = issuer.env_with_introspection();
    let mut env: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.push(("MCP_AUTH__INTROSPECTION_FRESH", "500ms"));
    for cluster in [Cluster::with(3, &env).await, Cluster::alone(&env).await] {
        let client = |token: &str| bearer(Client::modern(&cluster.node(0).url()), token);
        let token = issuer.opaque(|token| token);
        let seen = client(&token).call("whoami", json!({})).await.ok();
        assert_eq!(seen.structured()["principal"], format!("{}#alice", issuer.url()));
        // An answer is used again.
        let asked = issuer.fetches("/introspect");
        for _ in 0..20 {
            client(&token).list().await.ok();
        }
        assert!(
            issuer.fetches("/introspect") <= asked + 3,
            "each request is asked about"
        );
        refused(
            &cluster,
            "no aud",
            &issuer.opaque(|t| t.without("aud")),
            &["audience"],
        )
        .await;
        refused(
            &cluster,
            "for another",
            &issuer.opaque(|t| t.aud("https://other.example")),
            &["audience"],
        )
        .await;
        refused(
            &cluster,
            "of another",
            &issuer.opaque(|t| t.claim("iss", "https://other.example")),
            &["issuer"],
        )
        .await;
        refused(&cluster, "unknown", "never-made-by-anybody", &["revoked"]).await;
        issuer.revoke(&token);
        tokio::time::sleep(Duration::from_millis(600)).await;
        refused(&cluster, "revoked", &token, &["revoked"]).await;
    }
}
