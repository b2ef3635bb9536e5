//! Random input of clients and issuers is refused or read. Nothing panics, and nothing that is made up counts.

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::Request;
use http::header::AUTHORIZATION;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::claims::{self, Claims, ExpectedClaims, Jwt};
use super::key_set::IssuerKeys;
use super::*;
use crate::auth::{Credentials, Looked, Via};
use crate::config::AuthSettings;

/// JSON as an attacker may write it: any type at any place, and often the names that count.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(json!("https://idp.example")),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any_name(), inner, 0..6).prop_map(object),
        ]
    })
}

fn any_name() -> impl Strategy<Value = String> {
    let names = [
        "iss",
        "aud",
        "exp",
        "nbf",
        "iat",
        "sub",
        "client_id",
        "azp",
        "scope",
        "scp",
        "typ",
        "nonce",
        "cnf",
        "alg",
        "kid",
        "crit",
        "keys",
        "kty",
        "n",
        "e",
        "x",
        "y",
        "crv",
        "use",
        "key_ops",
        "issuer",
        "jwks_uri",
        "active",
        "token_type",
    ];
    prop_oneof![prop::sample::select(names.to_vec()).prop_map(str::to_owned), ".*"]
}

fn object(members: BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect::<Map<_, _>>())
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(any_name(), any_json(), 0..12).prop_map(object)
}

fn expected(audiences: &[String]) -> ExpectedClaims<'_> {
    ExpectedClaims {
        issuer: "https://idp.example",
        audiences,
        skew: Duration::from_secs(60),
        now: SystemTime::now(),
        asked: false,
    }
}

const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_token_that_can_be_looked_at(token in ".*") {
        let _is_jwt = claims::is_jwt(&token);
        prop_assert!(Jwt::read(&token, &ALGORITHMS).is_err());
    }

    #[test]
    fn any_header_and_claims_can_be_read(header in any_object(), payload in any_object()) {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.AAAA", part(&header), part(&payload));
        prop_assert!(claims::is_jwt(&token));
        if let Ok(jwt) = Jwt::read(&token, &ALGORITHMS) {
            prop_assert!(header["alg"] == "RS256" || header["alg"] == "ES256");
            prop_assert_eq!(&payload["iss"], &json!(jwt.issuer));
        }
    }

    /// What counts names the issuer, this server, a time to come, and somebody.
    #[test]
    fn claims_that_count_say_all_that_they_must(payload in any_object()) {
        let audiences = ["https://mcp.example/mcp".to_owned()];
        if let Ok(claims) = serde_json::from_value::<Claims>(payload.clone())
            && let Ok(verified) = claims.check(&expected(&audiences))
        {
            prop_assert_eq!(&payload["iss"], "https://idp.example");
            prop_assert!(payload["aud"].to_string().contains(&audiences[0]));
            prop_assert!(payload["exp"].is_number());
            prop_assert!(!verified.identity.principal().as_str().is_empty());
        }
    }

    /// The same of claims that are nearly right: one of them is anything.
    #[test]
    fn one_claim_that_is_anything_is_refused_or_right(name in any_name(), value in any_json()) {
        let audiences = ["https://mcp.example/mcp".to_owned()];
        let mut payload = json!({
            "iss": "https://idp.example", "aud": audiences[0], "exp": 4_000_000_000_u64, "sub": "alice", "client_id": "cli",
        });
        payload[&name] = value.clone();
        let claims = serde_json::from_value::<Claims>(payload);
        let Ok(claims) = claims else { return Ok(()) };
        let Ok(verified) = claims.check(&expected(&audiences)) else { return Ok(()) };
        let principal = verified.identity.principal().as_str().to_owned();
        match name.as_str() {
            "iss" | "aud" | "exp" | "nonce" | "cnf" => prop_assert!(["iss", "aud", "exp"].contains(&&*name)),
            "sub" | "client_id" => prop_assert!(value.is_string() || value.is_null()),
            _ => prop_assert_eq!(principal, "https://idp.example#alice"),
        }
    }

    #[test]
    fn any_document_is_read_as_keys_or_refused(document in any_object(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(IssuerKeys::parse(document.to_string().as_bytes()));
        drop(IssuerKeys::parse(&bytes));
        drop(metadata::read("https://idp.example", document.to_string().into()));
        drop(metadata::read("https://idp.example", bytes.into()));
    }

    #[test]
    fn any_keys_are_kept_or_left_out(keys in prop::collection::vec(any_object(), 0..10)) {
        let keys = IssuerKeys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        for algorithm in ALGORITHMS {
            let _found = keys.find(None, algorithm).is_some() || keys.find(Some("a"), algorithm).is_some();
        }
    }

    /// Nobody is let in by what no settings name.
    #[test]
    fn any_header_is_nobodys(value in prop::collection::vec(0x20_u8.., 0..100), scheme in "(Bearer |bearer )?") {
        let auth = AuthSettings {
            tokens: BTreeMap::from([("alice".to_owned(), "a-long-enough-token".to_owned())]),
            proxy_header: "x-user".into(),
            ..AuthSettings::default()
        };
        let (credentials, _tasks) = Credentials::new(&auth, false, None).unwrap().unwrap();
        let value = [scheme.as_bytes(), &value].concat();
        let Ok(value) = http::HeaderValue::from_bytes(&value) else { return Ok(()) };
        for name in [AUTHORIZATION, http::HeaderName::from_static("x-user")] {
            let request = Request::builder().header(&name, value.clone()).body(()).unwrap();
            let (head, ()) = request.into_parts();
            let via = Via { trusted: false, certificate: None };
            prop_assert!(!matches!(credentials.look(&head, via), Looked::Known(_)));
        }
    }
}
