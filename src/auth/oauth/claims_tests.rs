//! Tests of what a token says.

use serde_json::{Value, json};

use super::*;

const IDP: &str = "https://idp.example";
const OURS: &str = "https://mcp.example/mcp";
const NOW: u64 = 1_800_000_000;

fn expected(asked: bool) -> ExpectedClaims<'static> {
    static AUDIENCES: std::sync::LazyLock<[String; 2]> =
        std::sync::LazyLock::new(|| [OURS.into(), "client-7".into()]);
    ExpectedClaims {
        issuer: IDP,
        audiences: &*AUDIENCES,
        skew: Duration::from_secs(60),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
        asked,
    }
}

fn good() -> Value {
    json!({ "iss": IDP, "aud": OURS, "exp": NOW + 600, "sub": "alice", "client_id": "cli", "scope": "a b" })
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = good();
    claims[member] = value;
    claims
}

fn without(member: &str) -> Value {
    let mut claims = good();
    drop(claims.as_object_mut().unwrap().remove(member));
    claims
}

fn check(claims: &Value) -> Result<Verified, Flaw> {
    let claims: Claims = serde_json::from_value(claims.clone()).map_err(|_error| Flaw::Malformed)?;
    claims.check(&expected(false))
}

fn principal(claims: &Value) -> String {
    let verified = check(claims).unwrap();
    verified.identity.principal().as_str().to_owned()
}

#[test]
fn a_good_token_names_its_user_client_and_scopes() {
    let verified = check(&good()).unwrap();
    let identity = verified.identity;
    assert_eq!(identity.principal().as_str(), "https://idp.example#alice");
    assert_eq!(
        (identity.issuer(), identity.subject(), identity.client()),
        (Some(IDP), Some("alice"), Some("cli"))
    );
    assert!(identity.scopes().unwrap().eq(["a", "b"]));
    assert_eq!(verified.valid_for, Duration::from_secs(660));
    assert_eq!(
        identity.expires_at(),
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 600))
    );
}

/// T20: claims of another type are refused, and so are those that are missing.
#[test]
fn claims_of_another_type_are_refused() {
    for (member, value) in [
        ("exp", json!("1900000000")),
        ("exp", json!(null)),
        ("exp", json!([NOW + 600])),
        ("nbf", json!("0")),
        ("iat", json!("0")),
        ("iss", json!([IDP])),
        ("iss", json!(null)),
        ("iss", json!(7)),
        ("aud", json!(null)),
        ("aud", json!([])),
        ("aud", json!([[OURS]])),
        ("aud", json!({ "a": OURS })),
        ("aud", json!(7)),
        ("aud", json!("")),
        ("sub", json!(7)),
        ("sub", json!(["alice"])),
        ("client_id", json!(7)),
        ("scope", json!(7)),
        ("scope", json!({})),
    ] {
        assert!(check(&with(member, value.clone())).is_err(), "{member}: {value}");
    }
    for member in ["iss", "aud", "exp"] {
        assert!(check(&without(member)).is_err(), "{member}");
    }
}

#[test]
fn a_claim_that_is_given_twice_is_refused() {
    let twice = r#"{"iss":"https://idp.example","aud":"https://other.example","aud":"https://mcp.example/mcp","exp":1900000000,"sub":"alice"}"#;
    assert!(serde_json::from_str::<Claims>(twice).is_err());
}

/// T22: a token for another server is no token for this one.
#[test]
fn only_what_is_meant_for_this_server_counts() {
    for audience in [
        json!("https://mcp.example/mcp/"),
        json!("https://mcp.example/MCP"),
        json!("https://mcp.example:8443/mcp"),
        json!("https://mcp.example"),
        json!("https://mcp.example/mcp/tools"),
        json!(["account", "other"]),
    ] {
        assert_eq!(
            check(&with("aud", audience.clone())).err(),
            Some(Flaw::Audience),
            "{audience}"
        );
    }
    for audience in [json!(["account", OURS]), json!("client-7"), json!(["client-7"])] {
        assert!(check(&with("aud", audience)).is_ok());
    }
    assert_eq!(
        check(&with("iss", json!("https://idp.example/"))).err(),
        Some(Flaw::Issuer)
    );
}

/// T23, T24: what is for clients and issuers, and what needs a proof besides.
#[test]
fn tokens_of_other_kinds_are_refused() {
    for (member, value) in [
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!("Logout")),
        ("nonce", json!("n")),
        ("nonce", json!(null)),
        ("at_hash", json!("h")),
        ("cnf", json!({ "jkt": "x" })),
        ("cnf", json!({ "x5t#S256": "x" })),
    ] {
        assert_eq!(
            check(&with(member, value.clone())).err(),
            Some(Flaw::Malformed),
            "{member}: {value}"
        );
    }
    assert!(check(&with("typ", json!("Bearer"))).is_ok());
}

#[test]
fn times_count_with_the_skew_of_the_clocks() {
    let of = |member: &str, at: Value| check(&with(member, at)).err();
    assert_eq!(of("exp", json!(NOW - 59)), None);
    assert_eq!(of("exp", json!(NOW - 60)), Some(Flaw::Expired));
    assert_eq!(of("exp", json!(-1)), Some(Flaw::Expired));
    assert_eq!(of("exp", json!(1e300)), None);
    assert_eq!(of("exp", json!(NOW as f64 + 0.5)), None);
    assert_eq!(of("nbf", json!(NOW + 60)), None);
    assert_eq!(of("nbf", json!(NOW + 61)), Some(Flaw::Early));
    assert_eq!(of("iat", json!(NOW + 61)), Some(Flaw::Early));
}

/// T8, T9: users are told apart from each other and from machines.
#[test]
fn users_and_machines_have_names_of_their_own() {
    assert_eq!(
        principal(&with("client_id", json!("other"))),
        "https://idp.example#alice"
    );
    let mut machine = without("sub");
    assert_eq!(principal(&machine), "https://idp.example##cli");
    machine["sub"] = json!("cli");
    assert_eq!(principal(&machine), "https://idp.example##cli");
    let mut by_azp = without("client_id");
    by_azp["azp"] = json!("alice");
    assert_eq!(principal(&by_azp), "https://idp.example##alice");
    assert_eq!(check(&with("sub", json!(""))).unwrap().identity.subject(), None);
    let mut nobody = without("sub");
    drop(nobody.as_object_mut().unwrap().remove("client_id"));
    assert_eq!(check(&nobody).err(), Some(Flaw::Malformed));
}

#[test]
fn scopes_are_read_as_issuers_write_them() {
    let scopes = |claims: &Value| -> Vec<String> {
        let identity = check(claims).unwrap().identity;
        identity.scopes().unwrap().map(str::to_owned).collect()
    };
    assert_eq!(scopes(&with("scope", json!("a  b a"))), ["a", "b"]);
    assert_eq!(scopes(&with("scope", json!(["c", "d e"]))), ["c", "d", "e"]);
    assert_eq!(scopes(&with("scp", json!("x"))), ["a", "b", "x"]);
    assert_eq!(scopes(&with("scp", json!(["x", "y"]))), ["a", "b", "x", "y"]);
    assert!(scopes(&without("scope")).is_empty());
    let many = vec!["s"; 5000]
        .iter()
        .enumerate()
        .map(|(n, s)| format!("{s}{n}"))
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(scopes(&with("scope", json!(many))).len(), SCOPES_MAX);
}

#[test]
fn an_issuer_that_is_asked_need_not_repeat_what_it_knows() {
    let mut claims = without("iss");
    drop(claims.as_object_mut().unwrap().remove("exp"));
    let claims: Claims = serde_json::from_value(claims).unwrap();
    assert_eq!(claims.check(&expected(true)).unwrap().valid_for, Duration::MAX);
    let claims: Claims = serde_json::from_value(without("aud")).unwrap();
    assert_eq!(claims.check(&expected(true)).err(), Some(Flaw::Audience));
}

fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(header), part(claims))
}

/// T21: neither the algorithm nor the key is the token's choice.
#[test]
fn a_header_that_would_choose_the_key_is_refused() {
    let read = |header: Value| Jwt::read(&token(&header, &good()), &[Algorithm::RS256]).err();
    assert_eq!(
        read(json!({ "alg": "RS256", "kid": "a", "typ": "at+JWT", "x5t": "x" })),
        None
    );
    for algorithm in ["none", "None", "HS256", "ES256", "", "rs256"] {
        assert!(read(json!({ "alg": algorithm })).is_some(), "{algorithm}");
    }
    for member in ["crit", "jku", "jwk", "x5u"] {
        let header = json!({ "alg": "RS256", member: null });
        assert_eq!(read(header), Some(Flaw::Malformed), "{member}");
    }
    for kind in ["id_token", "logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        let header = json!({ "alg": "RS256", "typ": kind });
        assert_eq!(read(header), Some(Flaw::Malformed), "{kind}");
    }
}

#[test]
fn a_text_of_three_parts_with_a_header_is_a_jwt() {
    assert!(is_jwt(&token(&json!({ "alg": "none" }), &json!({}))));
    for other in [
        "",
        "a.b.c",
        "opaque",
        "..",
        "e30.e30",
        "e30.e30.e30.e30.e30",
        "W10.e30.e30",
    ] {
        assert!(!is_jwt(other), "{other}");
    }
}
