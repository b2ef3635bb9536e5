//! For operators and balancers: is the node alive, is it ready, how is it doing. Nothing here waits for the
//! store.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use humantime_serde::re::humantime::format_rfc3339_millis;
use serde::Serialize;

use super::{Service, response};
use crate::auth::{Credentials, IssuerHealth};
use crate::cluster::membership::StoreHealth;
use crate::telemetry::metrics as recorded;

/// How long the store may take no writes before the node says that it cannot serve.
fn bound(service: &Service) -> Duration {
    service.engine.settings.store.outage_grace
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health<'a> {
    status: &'static str,
    node_id: &'a str,
    active_sessions: usize,
    timestamp: String,
    version: &'a str,
    uptime_seconds: u64,
    store: StoreStatus,
    restorations: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    issuers: Vec<IssuerStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsStatus>,
}

/// How the keys of an issuer are. A node is well without them: tokens that it knows count on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IssuerStatus {
    issuer: String,
    keys_age_seconds: Option<u64>,
    reachable: bool,
}

#[derive(Serialize)]
struct LimitsStatus {
    /// Whether the store does not count requests, so that the node holds the limits for itself alone.
    local: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreStatus {
    kind: &'static str,
    reachable: bool,
    writable: bool,
    latency_ms: f64,
    /// For how long it has taken no writes.
    away_seconds: u64,
}

/// How the node is: `healthy`; `degraded` while the store is away or takes no writes, and known sessions are
/// served without it, or while part of a cluster is away; `unavailable` (503) when it has taken none for too
/// long; `draining` (503) while the node shuts down.
fn status(service: &Service, store: StoreHealth) -> (&'static str, StatusCode) {
    if service.engine.is_draining() {
        ("draining", StatusCode::SERVICE_UNAVAILABLE)
    } else if store.writable && store.answers {
        ("healthy", StatusCode::OK)
    } else if store.away_for < bound(service) {
        ("degraded", StatusCode::OK)
    } else {
        ("unavailable", StatusCode::SERVICE_UNAVAILABLE)
    }
}

pub(crate) async fn health(State(service): State<Service>) -> Response {
    let store = service.engine.membership.store_health();
    let (status, code) = status(&service, store);
    let health = Health {
        status,
        node_id: service.engine.node.as_str(),
        active_sessions: service.engine.sessions.kept(),
        timestamp: format_rfc3339_millis(SystemTime::now()).to_string(),
        version: &service.engine.info.server_info.version,
        uptime_seconds: service.started.elapsed().as_secs(),
        store: StoreStatus {
            kind: service.engine.store.profile().kind,
            reachable: store.answers,
            writable: store.writable,
            latency_ms: rounded_ms(store.latency),
            away_seconds: store.away_for.as_secs(),
        },
        restorations: service.engine.sessions.restorations(),
        issuers: issuers(&service),
        limits: service
            .engine
            .limits
            .are_local()
            .map(|local| LimitsStatus { local }),
    };
    match serde_json::to_vec(&health) {
        Ok(body) => response::json(code, body),
        Err(_) => response::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn issuers(service: &Service) -> Vec<IssuerStatus> {
    let issuers = service.guard.credentials().map(Credentials::issuers);
    let of = |health: IssuerHealth| IssuerStatus {
        issuer: health.issuer,
        keys_age_seconds: health.keys_age.map(|age| age.as_secs()),
        reachable: !health.failing,
    };
    issuers.unwrap_or_default().into_iter().map(of).collect()
}

/// Milliseconds, to the microsecond.
fn rounded_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Alive: the process answers.
pub(crate) async fn livez() -> StatusCode {
    StatusCode::OK
}

/// Ready: balancers may send requests here.
pub(crate) async fn readyz(State(service): State<Service>) -> StatusCode {
    status(&service, service.engine.membership.store_health()).1
}

pub(crate) async fn metrics() -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        recorded::render(),
    )
        .into_response()
}
