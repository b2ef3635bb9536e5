//! What is logged of a request: one line for its answer, at `debug`. While that level is off, nothing is made
//! ready for it.

use std::sync::Arc;

use axum::response::Response;
use futures::FutureExt as _;
use http::StatusCode;
use tokio::time::Instant;
use tracing::{Instrument as _, Level, Span, debug, enabled, error_span, field, record_all};

use super::audited::{self, AuditedRequest};
use super::request_line::{OTHER, RequestLine};
use super::{Service, response};
use crate::engine::Engine;
use crate::protocol::era::Era;
use crate::protocol::error::Refusal;

/// The span of a request. It stands alone: what a line needs of the spans around it is in it.
pub(super) fn span(service: &Service) -> Span {
    error_span!(
        parent: None,
        "request",
        node = service.engine.node.as_str(),
        session = field::Empty,
        era = field::Empty,
        method = field::Empty,
        tool = field::Empty,
    )
}

/// Answers a request that came at `began` in its span, and logs the answer.
pub(super) async fn logged(
    service: &Service,
    line: RequestLine,
    asker: Option<Arc<AuditedRequest>>,
    began: Instant,
    answer: impl Future<Output = Response>,
) -> Response {
    // Not an `async` block, which would keep room for the answer's future twice.
    let answered = answer.inspect(|response| finish(service, line, asker.as_deref(), began, response));
    answered.instrument(span(service)).await
}

/// Puts what is known of a request into its span. Once for each request: text shows what is recorded again
/// twice.
pub(super) fn note(era: Era, method: &'static str, session: Option<&str>) {
    let span = Span::current();
    record_all!(span, era = era.as_str(), method = method, session = session);
}

/// Puts the session into the span that the request has made.
pub(super) fn note_session(session: &str) {
    Span::current().record("session", session);
}

/// Puts the tool that is called into the span, if anybody will see it. One that the handler does not know is
/// a client's word.
pub(super) fn note_tool<'a>(engine: &Engine, method: &str, name: impl FnOnce() -> Option<&'a str>) {
    if enabled!(Level::DEBUG) && method == "tools/call" {
        let name = name().filter(|name| engine.tool(name).is_some());
        Span::current().record("tool", name.unwrap_or(OTHER));
    }
}

/// Logs the answer to a request, also in the audit log if it was refused.
pub(super) fn finish(
    service: &Service,
    line: RequestLine,
    asker: Option<&AuditedRequest>,
    began: Instant,
    response: &Response,
) {
    if let Some(asker) = asker {
        audited::note_denied(service, asker, line, response);
    }
    if enabled!(Level::DEBUG) {
        let reason = response
            .extensions()
            .get::<response::RefusedFor>()
            .map(|refused| refused.0);
        debug!(
            http = line.method,
            path = line.path,
            status = response.status().as_u16(),
            reason,
            duration_ms = began.elapsed().as_secs_f64() * 1000.0,
            "{}",
            said(response.status(), reason),
        );
    }
}

fn said(status: StatusCode, reason: Option<&str>) -> &'static str {
    match reason {
        // Parameters that do not fit are an error in a 200.
        Some(_) if !status.is_success() => "refused",
        _ => "answered",
    }
}

/// The refusal of a request that comes no further.
pub(super) fn refuse(service: &Service, line: RequestLine, refusal: &Refusal) -> Response {
    refuse_asker(service, line, None, refusal)
}

/// The same, of a request whose sender the audit log may want to know.
pub(super) fn refuse_asker(
    service: &Service,
    line: RequestLine,
    asker: Option<&AuditedRequest>,
    refusal: &Refusal,
) -> Response {
    let began = Instant::now();
    span(service).in_scope(|| {
        let response = response::refusal(refusal, None);
        finish(service, line, asker, began, &response);
        response
    })
}
