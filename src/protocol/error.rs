//! Everything the server refuses: the HTTP status, the JSON-RPC error, and the words that say what to do.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use rmcp::model::{ErrorCode, ErrorData, RequestId};
use serde_json::{Value, json};

use super::challenge::Challenge;
pub(crate) use super::challenge::RETRY_AFTER_SECONDS;
use super::era::{Era, Revision};
use super::revisions::Revisions;

/// Errors of this server and its transport, in the range that JSON-RPC leaves to implementations.
pub(crate) const CODE_TRANSPORT: i32 = -32000;
/// A session that does not exist. Clients match the code, the status 404 and the words `Session not found`.
pub(crate) const CODE_SESSION_NOT_FOUND: i32 = -32001;

/// Why a request was turned away before any handler saw it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// The body is not JSON.
    #[error("the body is not JSON: send one JSON-RPC 2.0 message")]
    NotJson,
    /// The body is JSON but no message.
    #[error("not a JSON-RPC 2.0 message: {0}")]
    NotAMessage(&'static str),
    /// A batch, in a session that did not negotiate 2025-03-26.
    #[error("batches are only for sessions that negotiated 2025-03-26: send one message in each request")]
    BatchNotAllowed,
    /// The `MCP-Protocol-Version` header names no revision with sessions.
    #[error(
        "unsupported MCP-Protocol-Version header: use the version that `initialize` answered, one of {}",
        legacy(*.0)
    )]
    UnknownVersionHeader(Revisions),
    /// A request outside any session that is not `initialize`.
    #[error("no Mcp-Session-Id header: send `initialize` first and repeat the Mcp-Session-Id of its answer")]
    NoSession,
    /// Unknown, expired, or ended.
    #[error("Session not found: it has ended or expired. Open another, with `initialize` or GET /sse")]
    SessionNotFound,
    /// Another principal's session. Its client is told what it is told of one that is not there.
    #[error("{}", Self::SessionNotFound)]
    SessionForeign,
    /// HTTP+SSE: nobody carries the session's stream, on which the answer would go out.
    #[error(
        "the session's stream is lost: {reason}. Open it again with GET {reconnect} (relative to this URL)"
    )]
    StreamLost {
        /// Where to open the stream again.
        reconnect: String,
        /// What is known of it.
        reason: &'static str,
    },
    /// `Last-Event-ID` cannot be resumed from.
    #[error("Last-Event-ID cannot be resumed from: {0}. Open a stream without it")]
    BadEventId(&'static str),
    /// `Accept` lacks what the answer may be.
    #[error("not acceptable: {0}")]
    NotAcceptable(&'static str),
    /// The body's type is not JSON.
    #[error("send the body as Content-Type: application/json")]
    UnsupportedMediaType,
    /// The body is too large.
    #[error("the body is larger than {0} bytes, the most this server takes (http.body_bytes_max)")]
    BodyTooLarge(usize),
    /// The body did not arrive in time, or broke off.
    #[error("the body did not arrive whole: send the request again")]
    BodyIncomplete,
    /// `Host` names something else than this server.
    #[error("the Host header is not allowed: call the server by a name listed in http.allowed_hosts")]
    HostNotAllowed,
    /// `Origin` is not one that may call.
    #[error(
        "the Origin is not allowed: add it to http.allowed_origins if browsers there may call this server"
    )]
    OriginNotAllowed,
    /// The credentials are not enough.
    #[error("{}", .0.words())]
    Challenged(Box<Challenge>),
    /// A rate or a cap.
    #[error("too many requests: {0}. Try again in {RETRY_AFTER_SECONDS} s")]
    TooMany(&'static str),
    /// A rate over all nodes.
    #[error(
        "too many requests: this client's rate is reached (limit.{}). Try again in {} s",
        .0.limit, .0.after_seconds()
    )]
    Limited(Limited),
    /// A limit of the node is reached.
    #[error("{0}. Try again in {RETRY_AFTER_SECONDS} s")]
    Full(&'static str),
    /// The store is out of reach.
    #[error("the session store is out of reach: try again in {RETRY_AFTER_SECONDS} s")]
    StoreUnreachable,
    /// The store answers, and refuses: it is full, say.
    #[error("{0}: try again in {RETRY_AFTER_SECONDS} s")]
    StoreRefused(&'static str),
    /// What the request is about was written by a newer version of the server.
    #[error(
        "this session belongs to a newer version of the server than this node runs: try again in \
         {RETRY_AFTER_SECONDS} s, another node will take it"
    )]
    NewerVersion,
    /// This node is shutting down.
    #[error("this node is shutting down: send the request again, another node will take it")]
    ShuttingDown,
    /// A header that counts only once came twice.
    #[error("the {0} header is given more than once: send it once")]
    DoubledHeader(&'static str),
    /// A path at which there is nothing.
    #[error("there is nothing at this path: {0}")]
    NoSuchPath(&'static str),
    /// A method that this path does not have.
    #[error("method not allowed: {0}")]
    MethodNotAllowed(&'static str),
    /// Modern: a header and the body differ (SEP-2243).
    #[error("header mismatch: {0}")]
    HeaderMismatch(String),
    /// Modern: the version is not supported.
    #[error("unsupported protocol version: use one of {served}")]
    UnsupportedVersion {
        /// The version asked for.
        requested: String,
        /// Those that are served.
        served: Revisions,
    },
    /// Modern: `_meta` lacks a required field, or has it malformed.
    #[error("request _meta is missing or has malformed required fields: {0}")]
    MetaIncomplete(String),
    /// The method does not exist in the client's era; the words name it.
    #[error("{0}")]
    MethodNotFound(String),
    /// The parameters do not fit the method.
    #[error("invalid params: {0}")]
    InvalidParams(String),
    /// Something broke inside.
    #[error("internal error: the request could not be served")]
    Internal,
}

/// A rate that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited {
    /// The last part of the name of its setting.
    pub(crate) limit: &'static str,
    /// When the same request may pass.
    pub(crate) after: Duration,
}

impl Limited {
    /// The same in whole seconds, one at least.
    #[must_use]
    pub(crate) const fn after_seconds(self) -> u64 {
        let whole = self.after.as_secs();
        match self.after.subsec_nanos() {
            0 if whole > 0 => whole,
            _ => whole + 1,
        }
    }

    /// The same in milliseconds, one at least.
    fn after_ms(self) -> u64 {
        let whole = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX - 1);
        whole + u64::from(self.after > Duration::from_millis(whole) || whole == 0)
    }
}

fn legacy(served: Revisions) -> String {
    let names: Vec<_> = served.in_era(Era::Legacy).map(Revision::as_str).collect();
    names.join(", ")
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::NotJson
            | Self::NotAMessage(_)
            | Self::BatchNotAllowed
            | Self::UnknownVersionHeader(_)
            | Self::NoSession
            | Self::DoubledHeader(_)
            | Self::HeaderMismatch(_)
            | Self::UnsupportedVersion { .. }
            | Self::MetaIncomplete(_)
            | Self::BadEventId(_)
            | Self::BodyIncomplete => StatusCode::BAD_REQUEST,
            Self::Challenged(challenge) => challenge.status(),
            Self::HostNotAllowed | Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::SessionNotFound | Self::SessionForeign | Self::MethodNotFound(_) | Self::NoSuchPath(_) => {
                StatusCode::NOT_FOUND
            }
            Self::StreamLost { .. } => StatusCode::GONE,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany(_) | Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::InvalidParams(_) => StatusCode::OK,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::StoreUnreachable
            | Self::StoreRefused(_)
            | Self::NewerVersion
            | Self::ShuttingDown
            | Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether it is a response like any other, which answers its request, and no failure of HTTP.
    #[must_use]
    pub(crate) const fn is_response(&self) -> bool {
        matches!(self, Self::InvalidParams(_))
    }

    /// The JSON-RPC error code.
    #[must_use]
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::NotJson => ErrorCode::PARSE_ERROR,
            Self::NotAMessage(_)
            | Self::BatchNotAllowed
            | Self::UnknownVersionHeader(_)
            | Self::NoSession
            | Self::DoubledHeader(_) => ErrorCode::INVALID_REQUEST,
            Self::SessionNotFound | Self::SessionForeign => ErrorCode(CODE_SESSION_NOT_FOUND),
            Self::HeaderMismatch(_) => ErrorCode::HEADER_MISMATCH,
            Self::UnsupportedVersion { .. } => ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::MetaIncomplete(_) | Self::InvalidParams(_) => ErrorCode::INVALID_PARAMS,
            Self::MethodNotFound(_) => ErrorCode::METHOD_NOT_FOUND,
            Self::Internal => ErrorCode::INTERNAL_ERROR,
            Self::StreamLost { .. }
            | Self::BadEventId(_)
            | Self::NotAcceptable(_)
            | Self::UnsupportedMediaType
            | Self::BodyTooLarge(_)
            | Self::BodyIncomplete
            | Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::Challenged(_)
            | Self::TooMany(_)
            | Self::Limited(_)
            | Self::Full(_)
            | Self::StoreUnreachable
            | Self::StoreRefused(_)
            | Self::NewerVersion
            | Self::ShuttingDown
            | Self::NoSuchPath(_)
            | Self::MethodNotAllowed(_) => ErrorCode(CODE_TRANSPORT),
        }
    }

    /// The label used in metrics.
    #[must_use]
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotAMessage(_) => "not_a_message",
            Self::BatchNotAllowed => "batch_not_allowed",
            Self::UnknownVersionHeader(_) => "unknown_version_header",
            Self::NoSession => "no_session",
            Self::SessionNotFound => "session_not_found",
            Self::SessionForeign => "session_foreign",
            Self::StreamLost { .. } => "stream_lost",
            Self::BadEventId(_) => "bad_event_id",
            Self::NotAcceptable(_) => "not_acceptable",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::BodyIncomplete => "body_incomplete",
            Self::HostNotAllowed => "host_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::Challenged(challenge) => challenge.label(),
            Self::TooMany(_) => "too_many",
            Self::Limited(_) => "rate_limited",
            Self::Full(_) => "full",
            Self::StoreUnreachable => "store_unreachable",
            Self::StoreRefused(_) => "store_refused",
            Self::NewerVersion => "newer_version",
            Self::ShuttingDown => "shutting_down",
            Self::DoubledHeader(_) => "doubled_header",
            Self::NoSuchPath(_) => "no_such_path",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::HeaderMismatch(_) => "header_mismatch",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::MetaIncomplete(_) => "meta_incomplete",
            Self::MethodNotFound(_) => "method_not_found",
            Self::InvalidParams(_) => "invalid_params",
            Self::Internal => "internal",
        }
    }

    /// How long the client should wait before it tries again, in seconds.
    #[must_use]
    pub(crate) const fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooMany(_)
            | Self::Full(_)
            | Self::StoreUnreachable
            | Self::StoreRefused(_)
            | Self::NewerVersion
            | Self::ShuttingDown => Some(RETRY_AFTER_SECONDS),
            Self::Challenged(challenge) => challenge.retry_after_seconds(),
            Self::Limited(limited) => Some(limited.after_seconds()),
            _ => None,
        }
    }

    /// The `data` member of the error.
    #[must_use]
    pub(crate) fn data(&self) -> Option<Value> {
        match self {
            Self::UnsupportedVersion { requested, served } => {
                Some(json!({ "supported": served.names(), "requested": requested }))
            }
            Self::Limited(limited) => {
                Some(json!({ "limit": limited.limit, "retryAfterMs": limited.after_ms() }))
            }
            Self::StreamLost { reconnect, reason } => {
                Some(json!({ "reconnect": reconnect, "reason": reason }))
            }
            Self::Challenged(challenge) if !challenge.scopes().is_empty() => {
                Some(json!({ "reason": challenge.label(), "scopes": challenge.scopes() }))
            }
            _ => None,
        }
    }

    /// The JSON-RPC error.
    #[must_use]
    pub(crate) fn to_error(&self) -> ErrorData {
        ErrorData::new(self.code(), Cow::Owned(self.to_string()), self.data())
    }
}

/// How much of what a client sent an error repeats, at most: enough to know it by.
const ECHO_BYTES_MAX: usize = 256;
/// What stands for the rest.
const CUT: &str = "…";

/// The beginning of a text, if it is longer than an error may repeat.
fn shorten(text: &mut String) {
    if text.len() > ECHO_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ECHO_BYTES_MAX - CUT.len()));
        text.push_str(CUT);
    }
}

fn shorten_all(data: &mut Value) {
    match data {
        Value::String(text) => shorten(text),
        Value::Array(items) => items.iter_mut().for_each(shorten_all),
        Value::Object(members) => members.values_mut().for_each(shorten_all),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An error that is about what the client sent, and may repeat it, with the beginning of that only.
fn shortened(error: &ErrorData) -> Cow<'_, ErrorData> {
    let about_input = [
        ErrorCode::PARSE_ERROR,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::METHOD_NOT_FOUND,
        ErrorCode::INVALID_PARAMS,
        ErrorCode::RESOURCE_NOT_FOUND,
        ErrorCode::HEADER_MISMATCH,
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
    ];
    if !about_input.contains(&error.code) {
        return Cow::Borrowed(error);
    }
    let mut error = error.clone();
    shorten(error.message.to_mut());
    error.data.iter_mut().for_each(shorten_all);
    Cow::Owned(error)
}

/// A JSON-RPC error message, which repeats little of what the client sent. The id is left out when it is not
/// known, as MCP's schema has it.
#[must_use]
pub(crate) fn error_body(id: Option<&RequestId>, error: &ErrorData) -> Vec<u8> {
    let error = &*shortened(error);
    let mut body = json!({ "jsonrpc": "2.0", "error": error });
    if let (Some(id), Some(object)) = (id, body.as_object_mut()) {
        object.insert("id".into(), id.clone().into_json_value());
    }
    body.to_string().into_bytes()
}

#[cfg(test)]
mod error_tests;
