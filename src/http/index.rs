//! `GET /`, for people who come with a browser, and what every path without a route answers.

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::audited::AuditedRequest;
use super::log;
use super::mcp::{check, refuse_method};
use super::request_line::RequestLine;
use super::{Service, media, response};
use crate::protocol::era::Revision;
use crate::protocol::error::Refusal;

const ONLY_READ: &str = "GET, HEAD";
const WORDS: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// What there is at the address of `http.probe_listen`.
pub(super) const ONLY_PROBES: &str = "this address has /livez, /readyz, /health and /metrics";
/// The answer depends on what the client accepts.
const BY_ACCEPT: (HeaderName, HeaderValue) = (VARY, HeaderValue::from_static("accept"));

/// What this server is and where to connect, for those who may use it: words, or JSON for a client that accepts that and no words.
/// Where is said relative to this page, which a proxy may serve below another path.
pub(super) async fn index(State(service): State<Service>, request: Request<HttpBody>) -> Response {
    let (line, headers) = (
        RequestLine::of(request.method(), request.uri()),
        request.headers().clone(),
    );
    let asker = AuditedRequest::of(request.extensions());
    if let Err(refusal) = check(&service, request).await {
        return log::refuse_asker(&service, line, asker.as_deref(), &refusal);
    }
    let server = service.engine.handler.info().server_info;
    let (name, version) = (&server.name, &server.version);
    let served = service.engine.revisions;
    let (sse, health) = (serves_sse(&service), !service.has_probe_address());
    let no_words = headers.contains_key(ACCEPT) && !media::accepts(&headers, "text", "plain");
    if no_words && media::accepts(&headers, "application", "json") {
        let endpoints = [("mcp", true), ("sse", sse), ("health", health)];
        let endpoints: Map<String, Value> = endpoints
            .into_iter()
            .filter(|(_, here)| *here)
            .map(|(name, _)| (name.to_owned(), name.into()))
            .collect();
        let about = json!({
            "name": name,
            "version": version,
            "protocolVersions": served.names(),
            "endpoints": endpoints,
        });
        let mut response = response::json(StatusCode::OK, about.to_string());
        response.headers_mut().extend([BY_ACCEPT]);
        return response;
    }
    let words = format!(
        "{name} {version}\n\n\
         This is an MCP server (Model Context Protocol). It is for MCP clients, and shows nothing here.\n\n\
         Connect a client to   mcp      (this URL, followed by mcp)\n\
         {}{}\n\
         Protocol versions     {served}\n",
        if sse { "Clients of 2024-11-05 sse\n" } else { "" },
        if health {
            "How the node is       health\n"
        } else {
            ""
        },
    );
    ([(CONTENT_TYPE, WORDS), BY_ACCEPT], words).into_response()
}

/// Another method on the path of the index, which asks for credentials as clients' paths do.
pub(super) async fn not_index(State(service): State<Service>, request: Request<HttpBody>) -> Response {
    refuse_method(&service, request, ONLY_READ).await
}

/// Another method on a path that is only read.
pub(super) async fn not_read(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    let line = RequestLine::of(&method, &uri);
    log::refuse(&service, line, &Refusal::MethodNotAllowed(ONLY_READ))
}

/// A path without a route.
pub(super) async fn not_found(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    log::refuse(&service, RequestLine::of(&method, &uri), &no_such_path(&service))
}

/// The refusal of a path at which there is nothing.
pub(super) fn no_such_path(service: &Service) -> Refusal {
    Refusal::NoSuchPath(if serves_sse(service) {
        "MCP is at /mcp, and for clients of 2024-11-05 at /sse"
    } else {
        "MCP is at /mcp"
    })
}

/// Whether the revision is served that has a transport of its own.
pub(super) fn serves_sse(service: &Service) -> bool {
    service.engine.revisions.contains(Revision::V2024_11_05)
}
