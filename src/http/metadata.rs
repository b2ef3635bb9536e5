//! Who issues tokens for this server, told to everybody: no credentials, no store, and no issuer is asked.
//!
//! Pages of any origin may read it, because a client in a browser reads it before its user has signed in.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::log;
use super::request_line::RequestLine;
use super::{Service, index, response};

/// How long it may be kept.
const KEEP: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
const FOR_ALL: (HeaderName, HeaderValue) = (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
/// Clients send `MCP-Protocol-Version` here too, for which browsers ask first.
const PREFLIGHT: [(HeaderName, HeaderValue); 2] = [
    (
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD"),
    ),
    (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*")),
];

/// The metadata of this server (RFC 9728).
pub(super) async fn resource(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    let resource = service.guard.resource();
    match resource.and_then(|resource| resource.metadata_at(uri.path())) {
        Some(document) => told(document),
        None => log::refuse(
            &service,
            RequestLine::of(&method, &uri),
            &index::no_such_path(&service),
        ),
    }
}

/// The metadata of the first issuer (RFC 8414), as that has written it.
pub(super) async fn issuer(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    let mirrors = service.engine.settings.auth.mirror;
    let credentials = service.guard.credentials().filter(|_| mirrors);
    match credentials.and_then(|credentials| credentials.issuer_metadata()) {
        Some(document) => told(document),
        None => log::refuse(
            &service,
            RequestLine::of(&method, &uri),
            &index::no_such_path(&service),
        ),
    }
}

/// What a browser asks before a page reads it.
pub(super) async fn preflight() -> Response {
    let mut response = response::empty(StatusCode::NO_CONTENT);
    response.headers_mut().extend(PREFLIGHT);
    response.headers_mut().extend([FOR_ALL]);
    response
}

fn told(document: Bytes) -> Response {
    let mut response = response::json(StatusCode::OK, document).into_response();
    response.headers_mut().extend([KEEP, FOR_ALL]);
    response
}
