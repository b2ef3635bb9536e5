//! What is kept of a session, apart from its handlers' own state.

use std::collections::BTreeSet;
use std::sync::Arc;

#[expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients and modern `_meta` still use it"
)]
use rmcp::model::LoggingLevel;
use rmcp::model::{ClientCapabilities, Implementation};
use serde::{Deserialize, Serialize};

use super::id::NodeId;
use crate::protocol::era::Revision;

/// Who a request is made for, as its credentials say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(pub Arc<str>);

impl Principal {
    /// The principal of every request to a server that asks for no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Arc::from(""))
    }

    /// Its name; empty for [`anonymous`](Self::anonymous).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which HTTP transport opened the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// Streamable HTTP, `POST /mcp`.
    Streamable,
    /// HTTP+SSE of 2024-11-05, `GET /sse`.
    Sse,
}

impl TransportKind {
    /// The name kept in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streamable => "streamable",
            Self::Sse => "sse",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Streamable, Self::Sse]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// The least severe log message that a session wants (RFC 5424 severities), ordered from `Debug` up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum LogLevel {
    /// Detail for debugging.
    Debug,
    /// The level of a session that never asked for one.
    Info,
    /// Normal but significant.
    Notice,
    /// Warnings.
    Warning,
    /// Errors.
    Error,
    /// Critical conditions.
    Critical,
    /// Action must be taken at once.
    Alert,
    /// The system is unusable.
    Emergency,
}

impl LogLevel {
    /// Every level, least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The level's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

#[expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients and modern `_meta` still use it"
)]
impl From<LoggingLevel> for LogLevel {
    fn from(level: LoggingLevel) -> Self {
        match level {
            LoggingLevel::Debug => Self::Debug,
            LoggingLevel::Info => Self::Info,
            LoggingLevel::Notice => Self::Notice,
            LoggingLevel::Warning => Self::Warning,
            LoggingLevel::Error => Self::Error,
            LoggingLevel::Critical => Self::Critical,
            LoggingLevel::Alert => Self::Alert,
            LoggingLevel::Emergency => Self::Emergency,
        }
    }
}

/// What a client says of itself with `initialize`, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Introduction {
    /// The negotiated revision.
    pub revision: Revision,
    /// The client's own description.
    pub client_info: Implementation,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// The `User-Agent` of the request, at most [`AGENT_BYTES_MAX`](SessionRecord::AGENT_BYTES_MAX) bytes of it;
    /// empty if it had none.
    pub agent: String,
}

impl Introduction {
    /// That of a client that has said nothing yet: its session was opened with `GET /sse`.
    #[must_use]
    pub fn missing() -> Self {
        Self {
            revision: Revision::V2024_11_05,
            client_info: Implementation::new("unknown", ""),
            capabilities: ClientCapabilities::default(),
            agent: String::new(),
        }
    }
}

/// A session as the store keeps it: everything a node needs to serve the session's next request.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// The negotiated revision.
    pub revision: Revision,
    /// Which transport opened it.
    pub transport: TransportKind,
    /// The client's own description, from `initialize`.
    pub client_info: Implementation,
    /// What the client can do, from `initialize`.
    pub capabilities: ClientCapabilities,
    /// Whether the client has sent `notifications/initialized`.
    pub initialized: bool,
    /// When the session was made, in unix milliseconds.
    pub created_at_ms: u64,
    /// When the session was last touched, in unix milliseconds.
    pub last_activity_ms: u64,
    /// The node that made it.
    pub node_id: NodeId,
    /// Who made it; nobody else can use it.
    pub principal: Principal,
    /// The level set by `logging/setLevel`, if any.
    pub log_level: Option<LogLevel>,
    /// The resources subscribed to with `resources/subscribe`.
    pub subscriptions: BTreeSet<String>,
    /// The `User-Agent` of the client's `initialize`; empty if that had none, or is not known.
    pub agent: String,
}

impl SessionRecord {
    /// The most resources a session may be subscribed to.
    pub const SUBSCRIPTIONS_MAX: usize = 256; // 256 x 2 KiB, up to four times: 2 MiB in the session's record at worst
    /// The longest URI that can be subscribed to, in bytes.
    pub const SUBSCRIPTION_URI_BYTES_MAX: usize = 2048;
    /// The most bytes of a `User-Agent` that are kept and compared.
    pub const AGENT_BYTES_MAX: usize = 256;
}
