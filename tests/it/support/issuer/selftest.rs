//! The issuer shown to issue what it says, and to be as wrong as it is told.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};
use serde_json::{Value, json};
use tokio::time::Duration;

use super::keys::{Algorithm, odd_jwks};
use super::token::{now, tampered};
use super::{Conduct, Discovery, INTROSPECTION_CLIENT, INTROSPECTION_SECRET, Issuer, Part, RESOURCE};
use crate::support::http::http_client;

/// The claims of a token whose signature holds by this key.
fn verified(token: &str, jwk: &Value) -> Option<Value> {
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let (header, claims) = message.split_once('.').expect("a header");
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let field = |name: &str| decode(jwk[name].as_str().expect("text"));
    let header: Value = serde_json::from_slice(&decode(header)).expect("JSON");
    assert_eq!(header["kid"], jwk["kid"]);
    let (message, signature) = (message.as_bytes(), decode(signature));
    let rsa = || PublicKeyComponents {
        n: field("n"),
        e: field("e"),
    };
    let point = || [vec![4], field("x"), field("y")].concat();
    let held = match header["alg"].as_str().expect("text") {
        "RS256" => rsa().verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature),
        "PS256" => rsa().verify(&RSA_PSS_2048_8192_SHA256, message, &signature),
        "ES256" => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point()).verify(message, &signature),
        "ES384" => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point()).verify(message, &signature),
        "EdDSA" => UnparsedPublicKey::new(&ED25519, field("x")).verify(message, &signature),
        other => panic!("{other}"),
    };
    held.ok()
        .map(|()| serde_json::from_slice(&decode(claims)).expect("JSON"))
}

async fn get(url: &str) -> reqwest::Result<Value> {
    let http = http_client().timeout(Duration::from_secs(2));
    let http = http.redirect(reqwest::redirect::Policy::none()).build()?;
    http.get(url).send().await?.error_for_status()?.json().await
}

#[tokio::test]
async fn each_algorithm_signs_what_its_published_key_verifies() {
    let issuer = Issuer::start().await;
    for algorithm in Algorithm::ALL {
        issuer.rotate(algorithm.name(), algorithm);
        let keys = get(&issuer.keys_url()).await.expect("keys");
        let jwk = &keys["keys"][0];
        let token = issuer.token(|token| token.sub("bob").scope("a b").ends_in(30).without("client_id"));
        let claims = verified(&token, jwk).expect("a signature that holds");
        assert_eq!((&claims["sub"], &claims["scope"]), (&json!("bob"), &json!("a b")));
        assert_eq!(
            (&claims["iss"], &claims["aud"]),
            (&json!(issuer.url()), &json!(RESOURCE))
        );
        assert!((0..=30).contains(&(claims["exp"].as_i64().expect("seconds") - now())));
        assert_eq!(claims.get("client_id"), None);
        assert_eq!(verified(&tampered(&token), jwk), None, "{algorithm:?}");

        // The same name for another key.
        issuer.rotate(algorithm.name(), algorithm);
        assert_eq!(verified(&issuer.token(|token| token), jwk), None, "{algorithm:?}");
    }
    assert_eq!(issuer.key_fetches(), Algorithm::ALL.len());
}

#[tokio::test]
async fn a_token_may_be_unsigned_or_signed_by_a_public_key() {
    let issuer = Issuer::start().await;
    let token = issuer.token(super::token::TokenDraft::unsigned);
    assert!(token.ends_with('.'), "{token}");
    let forms = issuer.key().public_forms();
    let tokens: std::collections::BTreeSet<_> = forms
        .iter()
        .map(|secret| issuer.token(|token| token.hs256(secret)))
        .collect();
    assert_eq!(tokens.len(), forms.len());
}

#[tokio::test]
async fn documents_are_where_they_are_told_and_may_lie() {
    let issuer = Issuer::start_at("/realms/main").await;
    let origin = issuer.url().replace("/realms/main", "");
    let places = [
        (
            Discovery::OAuth,
            format!("{origin}/.well-known/oauth-authorization-server/realms/main"),
        ),
        (
            Discovery::OpenIdInserted,
            format!("{origin}/.well-known/openid-configuration/realms/main"),
        ),
        (
            Discovery::OpenIdAppended,
            format!("{origin}/realms/main/.well-known/openid-configuration"),
        ),
    ];
    for (document, _) in &places {
        issuer.documents(&[*document]);
        for (other, place) in &places {
            let found = get(place).await.ok();
            assert_eq!(found.is_some(), document == other, "{document:?} {place}");
            if let Some(found) = found {
                assert_eq!(found["issuer"], issuer.url().as_str());
                assert_eq!(found["jwks_uri"], issuer.keys_url().as_str());
            }
        }
    }
    issuer.lie("issuer", "https://other.example.com");
    let found = get(&places[2].1).await.expect("a document");
    assert_eq!(found["issuer"], "https://other.example.com");
    assert_eq!(issuer.all_fetches(), 10);
}

#[tokio::test]
async fn it_fails_as_it_is_told() {
    let issuer = Issuer::start().await;
    let url = issuer.keys_url();
    let asked = async |conduct| {
        issuer.conduct(Part::Keys, conduct);
        get(&url).await
    };
    assert!(asked(Conduct::Frozen).await.expect_err("no answer").is_timeout());
    let status =
        |answer: reqwest::Result<Value>| answer.expect_err("refused").status().map(|code| code.as_u16());
    assert_eq!(status(asked(Conduct::Status(500)).await), Some(500));
    assert!(
        asked(Conduct::Text("<html>".into()))
            .await
            .expect_err("no JSON")
            .is_decode()
    );
    assert!(asked(Conduct::Redirect(issuer.url())).await.is_err());
    for conduct in [
        Conduct::Slow(Duration::from_millis(10)),
        Conduct::Huge(300_000),
        Conduct::Well,
    ] {
        let keys = asked(conduct).await.expect("keys");
        assert_eq!(keys["keys"][0]["kid"], "key-1");
    }
    issuer.publish(odd_jwks());
    let keys = asked(Conduct::Well).await.expect("keys");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(odd_jwks().len()));

    issuer.down().await;
    assert!(get(&url).await.expect_err("nobody listens").is_connect());
    issuer.up().await;
    assert!(get(&url).await.is_ok());
}

#[tokio::test]
async fn introspection_tells_claims_to_its_client_only() {
    let issuer = Issuer::start().await;
    let token = issuer.opaque(|token| token.sub("bob"));
    let http = http_client().build().expect("a client");
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let ask = async |secret: &str| {
        let body = format!("token={token}");
        let request = http
            .post(issuer.introspection_url())
            .basic_auth(encoded(INTROSPECTION_CLIENT), Some(encoded(secret)))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.expect("JSON"),
        )
    };
    let (status, told) = ask(INTROSPECTION_SECRET).await;
    assert_eq!(
        (status, &told["active"], &told["sub"]),
        (200, &json!(true), &json!("bob"))
    );
    assert_eq!(ask("wrong").await.0, 401);
    issuer.revoke(&token);
    assert_eq!(ask(INTROSPECTION_SECRET).await, (200, json!({"active": false})));
}
