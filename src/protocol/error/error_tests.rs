//! What refusals say, and that README.md has a row for each.

use super::*;

#[test]
fn an_unknown_session_is_what_clients_match() {
    let refusal = Refusal::SessionNotFound;
    assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
    assert_eq!(refusal.code().0, -32001);
    assert!(refusal.to_string().starts_with("Session not found"));
}

#[test]
fn a_body_leaves_out_an_id_that_is_not_known() {
    let body = error_body(None, &Refusal::NotJson.to_error());
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert!(value.get("id").is_none());
    assert_eq!(value["error"]["code"], -32700);
    let body = error_body(Some(&RequestId::Number(5)), &Refusal::NotJson.to_error());
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], 5);
}

/// M1: an error repeats little of what the client sent.
#[test]
fn an_error_repeats_the_beginning_of_what_was_sent() {
    let long = "é".repeat(1 << 20);
    for refusal in [
        Refusal::InvalidParams(long.clone()),
        Refusal::MethodNotFound(long.clone()),
        Refusal::MetaIncomplete(long.clone()),
        Refusal::HeaderMismatch(long.clone()),
        Refusal::UnsupportedVersion {
            requested: long.clone(),
            served: Revisions::ALL,
        },
    ] {
        let body = error_body(None, &refusal.to_error());
        let value: Value = serde_json::from_slice(&body).unwrap();
        let message = value["error"]["message"].as_str().unwrap();
        assert!(message.len() <= ECHO_BYTES_MAX, "{message}");
        assert!(body.len() < 4 * ECHO_BYTES_MAX, "{} bytes", body.len());
    }
    // A handler's own errors are cut, if they are about what the client sent.
    let data = json!({"uri": long, "more": [long]});
    let error = ErrorData::invalid_params(long.clone(), Some(data));
    let body = error_body(None, &error);
    assert!(body.len() < 4 * ECHO_BYTES_MAX, "{} bytes", body.len());
    let own = ErrorData::internal_error("x".repeat(1000), None);
    assert!(error_body(None, &own).len() > 1000);
}

#[test]
fn an_unsupported_version_says_what_is_supported() {
    let data = Refusal::UnsupportedVersion {
        requested: "v999.0.0".into(),
        served: Revisions::ALL,
    }
    .data()
    .unwrap();
    assert_eq!(data["requested"], "v999.0.0");
    assert_eq!(data["supported"].as_array().unwrap().len(), Revision::ALL.len());
}

#[test]
fn a_rate_says_when_to_try_again_and_never_too_early() {
    let told = |after| {
        let refusal = Refusal::Limited(Limited {
            limit: "address",
            after,
        });
        let data = refusal.data().unwrap();
        assert_eq!(data["limit"], "address");
        (
            refusal.retry_after_seconds().unwrap(),
            data["retryAfterMs"].as_u64().unwrap(),
        )
    };
    assert_eq!(told(Duration::ZERO), (1, 1));
    assert_eq!(told(Duration::from_micros(1)), (1, 1));
    assert_eq!(told(Duration::from_micros(1500)), (1, 2));
    assert_eq!(told(Duration::from_secs(2)), (2, 2000));
    assert_eq!(told(Duration::from_millis(2001)), (3, 2001));
}

fn all_refusals() -> Vec<Refusal> {
    vec![
        Refusal::NotJson,
        Refusal::NotAMessage(""),
        Refusal::BatchNotAllowed,
        Refusal::UnknownVersionHeader(Revisions::ALL),
        Refusal::NoSession,
        Refusal::DoubledHeader(""),
        Refusal::SessionNotFound,
        Refusal::SessionForeign,
        Refusal::StreamLost {
            reconnect: String::new(),
            reason: "",
        },
        Refusal::BadEventId(""),
        Refusal::NotAcceptable(""),
        Refusal::UnsupportedMediaType,
        Refusal::BodyTooLarge(0),
        Refusal::BodyIncomplete,
        Refusal::HostNotAllowed,
        Refusal::OriginNotAllowed,
        Refusal::Challenged(Challenge::unauthorized("Bearer").into()),
        Refusal::Challenged(Challenge::invalid_token("Bearer").into()),
        Refusal::Challenged(Challenge::in_query().into()),
        Refusal::Challenged(Challenge::forbidden(None).into()),
        Refusal::Challenged(Challenge::insufficient_scope("Bearer", &["scope".to_owned()]).into()),
        Refusal::Challenged(Challenge::issuer_unreachable(Duration::from_secs(5)).into()),
        Refusal::Challenged(Challenge::unavailable().into()),
        Refusal::TooMany(""),
        Refusal::Limited(Limited {
            limit: "principal",
            after: Duration::from_secs(1),
        }),
        Refusal::Full(""),
        Refusal::StoreUnreachable,
        Refusal::StoreRefused(""),
        Refusal::NewerVersion,
        Refusal::ShuttingDown,
        Refusal::NoSuchPath(""),
        Refusal::MethodNotAllowed(""),
        Refusal::HeaderMismatch(String::new()),
        Refusal::UnsupportedVersion {
            requested: String::new(),
            served: Revisions::ALL,
        },
        Refusal::MetaIncomplete(String::new()),
        Refusal::MethodNotFound(String::new()),
        Refusal::InvalidParams(String::new()),
        Refusal::Internal,
    ]
}

#[test]
fn every_refusal_has_its_row() {
    let refusals = all_refusals();
    let sources = [include_str!("../error.rs"), include_str!("../challenge.rs")];
    let lines = sources.into_iter().flat_map(str::lines);
    let arms = lines.filter(|line| line.contains("=> \"")).count();
    assert_eq!(
        refusals.len(),
        arms,
        "a refusal is missing here: src/protocol has more labels"
    );
    let mut lines = include_str!("../../../README.md").lines();
    lines
        .find(|line| *line == "| status | code | reason | when |")
        .expect("README.md has the table");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows: Vec<Vec<_>> = rows
        .map(|row| row.trim_matches('|').split('|').map(cell).collect())
        .collect();
    assert_eq!(rows.len(), refusals.len());
    for refusal in refusals {
        let row = rows.iter().find(|row| row[2] == refusal.label());
        let row = row.unwrap_or_else(|| panic!("no row for {}", refusal.label()));
        assert_eq!(row[0], refusal.status().as_str(), "{row:?}");
        assert_eq!(row[1], refusal.code().0.to_string(), "{row:?}");
        let retry_after = row[3].contains("`Retry-After`");
        assert_eq!(retry_after, refusal.retry_after_seconds().is_some(), "{row:?}");
    }
}
