//! What a node says of its health, in words and in JSON.

use serde::Deserialize;
use serde_json::{Value, json};

use super::HealthAnswer;

/// What `GET /health` tells, as far as it is put into words here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldHealth {
    status: String,
    store: ToldStore,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldStore {
    reachable: bool,
    writable: bool,
    #[serde(default)]
    away_seconds: u64,
}

/// One line: how the node is and what is wrong. Of a path that tells nothing, the status of HTTP.
pub(super) fn in_words(answer: &HealthAnswer) -> String {
    let Ok(told) = serde_json::from_slice::<ToldHealth>(&answer.body) else {
        return format!("HTTP {}", answer.status);
    };
    let ToldHealth { status, store } = told;
    let why = match (status.as_str(), store.reachable, store.writable) {
        ("healthy", ..) => return status,
        ("draining", ..) => "the node is about to stop".to_owned(),
        (_, false, true) => "a part of the store is out of reach".to_owned(),
        (_, false, false) => format!("store out of reach for {} s", store.away_seconds),
        (_, true, false) => format!("store takes no writes for {} s", store.away_seconds),
        (_, true, true) => return status,
    };
    format!("{status}: {why}")
}

/// The answer itself; of a path that tells nothing, the status of HTTP.
pub(super) fn in_json(answer: &HealthAnswer) -> String {
    let told = serde_json::from_slice::<Value>(&answer.body);
    let told = told.unwrap_or_else(|_| json!({ "httpStatus": answer.status.as_u16() }));
    format!("{told:#}")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn words(status: &str, reachable: bool, writable: bool) -> String {
        let store = json!({ "reachable": reachable, "writable": writable, "awaySeconds": 12 });
        let body = json!({ "status": status, "store": store }).to_string();
        in_words(&HealthAnswer {
            status: StatusCode::OK,
            body: body.into(),
        })
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        assert_eq!(words("healthy", true, true), "healthy");
        assert_eq!(
            words("degraded", false, false),
            "degraded: store out of reach for 12 s"
        );
        assert_eq!(
            words("unavailable", true, false),
            "unavailable: store takes no writes for 12 s"
        );
        assert_eq!(
            words("degraded", false, true),
            "degraded: a part of the store is out of reach"
        );
        assert_eq!(
            words("draining", true, true),
            "draining: the node is about to stop"
        );
    }

    #[test]
    fn a_path_that_tells_nothing_is_told_by_its_status() {
        let answer = HealthAnswer {
            status: StatusCode::NOT_FOUND,
            body: "nothing".into(),
        };
        assert_eq!(in_words(&answer), "HTTP 404 Not Found");
        assert_eq!(in_json(&answer), "{\n  \"httpStatus\": 404\n}");
    }
}
