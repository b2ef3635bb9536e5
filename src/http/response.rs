//! Responses: refusals, results and streams, each with the headers that belong to it.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use rmcp::model::RequestId;
use tokio::sync::mpsc;

use crate::engine::reply::Reply;
use crate::engine::running_call::{Finished, Verdict};
use crate::protocol::error::{RETRY_AFTER_SECONDS, Refusal, error_body};
use crate::protocol::sse;
use crate::telemetry::metrics;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Proxies must not keep a stream, nor compress it: a compressor waits for more.
const AS_IT_COMES: HeaderValue = HeaderValue::from_static("no-store, no-transform");
/// Asks nginx and its kin not to hold events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Why a request was refused: it goes with the response to its line in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedFor(pub(super) &'static str);

/// A refusal as a response, to the request of that id if it is known.
#[must_use]
pub(super) fn refusal(refusal: &Refusal, id: Option<&RequestId>) -> Response {
    // Parameters that do not fit are an error in a 200 that answers their request. A notification has no such
    // answer.
    let status = match refusal.status() {
        status if status.is_success() && id.is_none() => StatusCode::BAD_REQUEST,
        status => status,
    };
    metrics::refused(refusal.label());
    if let Refusal::Limited(limited) = refusal {
        metrics::limited(limited.limit);
    }
    let mut response = json(status, error_body(id, &refusal.to_error()));
    response.extensions_mut().insert(RefusedFor(refusal.label()));
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    match refusal {
        Refusal::Challenged(challenge) => {
            headers.extend(
                challenge
                    .www_authenticate()
                    .map(|value| (WWW_AUTHENTICATE, value.clone())),
            );
        }
        Refusal::MethodNotAllowed(allowed) => {
            drop(headers.insert(ALLOW, HeaderValue::from_static(allowed)));
        }
        _ => {}
    }
    response
}

/// The answer to a request that made this server panic. The panic hook has logged where.
pub(super) fn panicked(_panic: Box<dyn std::any::Any + Send>) -> Response {
    refusal(&Refusal::Internal, None)
}

/// A JSON body.
#[must_use]
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A status without a body.
#[must_use]
pub(super) fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// The reply to a call.
///
/// # Errors
/// The refusal that the call met with.
pub(super) fn reply(reply: Reply) -> Result<Response, Refusal> {
    match reply {
        Reply::Json(finished) => Ok(whole(finished)),
        Reply::Stream(events) => Ok(stream(events)),
        Reply::Refused(refusal) => Err(refusal),
    }
}

fn whole(finished: Finished) -> Response {
    let Some(body) = finished.body else {
        // A cancelled call has no response.
        return empty(StatusCode::ACCEPTED);
    };
    let mut response = json(status(finished.verdict), body);
    if matches!(finished.verdict, Verdict::TooMany | Verdict::Unavailable) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    response
}

/// The status that says what kind of answer it is.
const fn status(verdict: Verdict) -> StatusCode {
    match verdict {
        Verdict::Answered => StatusCode::OK,
        Verdict::Nothing => StatusCode::ACCEPTED,
        Verdict::Malformed => StatusCode::BAD_REQUEST,
        Verdict::NotFound => StatusCode::NOT_FOUND,
        Verdict::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Verdict::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// One message as a stream of its own, which ends after it.
#[must_use]
pub(super) fn event(message: &[u8]) -> Response {
    streamed(Body::from(sse::message(message)))
}

/// Server-sent events.
#[must_use]
pub(super) fn stream(mut events: mpsc::Receiver<Bytes>) -> Response {
    let events =
        futures::stream::poll_fn(move |cx| events.poll_recv(cx).map(|event| event.map(Ok::<_, Infallible>)));
    streamed(Body::from_stream(events))
}

/// Marks a response whose stream may be open, and silent, for hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawStream {
    /// The stream ends when the client closes its half. Another connection carries later events.
    Standing,
    /// The same of HTTP+SSE. Its body is not sent in chunks, but ends with its connection: HAProxy, unless it is
    /// told otherwise (`option http-no-delay`), holds back each event of a body in chunks for 200 ms, to fill a
    /// packet. The price is that a stream that breaks off looks like one that has ended. Clients of HTTP+SSE do
    /// the same in either case; those of `/mcp` do not all: some take a stream up again only if it broke off.
    StandingUnchunked,
    /// The stream ends by itself, with the answer to a call. A client that has closed its half may wait for
    /// that.
    Reply,
}

/// The same response, marked as [`RawStream`].
#[must_use]
pub(crate) fn as_raw_stream(mut response: Response, raw: RawStream) -> Response {
    response.extensions_mut().insert(raw);
    response
}

fn streamed(events: Body) -> Response {
    let mut response = Response::new(events);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, AS_IT_COMES);
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
