//! What is noted in the audit log: who did what.

use std::net::IpAddr;

use super::TEXT_BYTES_MAX;
use crate::session::Principal;

/// Who did something, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Actor<'a> {
    /// The principal; one that is anonymous is left out.
    pub principal: Option<&'a Principal>,
    /// What the client calls itself.
    pub client: Option<&'a str>,
    /// The tag of the session. Never its id.
    pub session: Option<&'a str>,
    /// Where the request came from.
    pub from: Option<&'a CameFrom>,
    /// The method of JSON-RPC, or the first line of an HTTP request that was refused before its body was read.
    pub method: Option<&'a str>,
}

/// Where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CameFrom {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Its `User-Agent`.
    pub agent: Option<Box<str>>,
    /// The trace that it belongs to (W3C Trace Context, `traceparent`).
    pub trace: Option<Box<str>>,
}

impl CameFrom {
    /// From that address, with these headers.
    #[must_use]
    pub(crate) fn new(address: Option<IpAddr>, agent: Option<&str>, traceparent: Option<&str>) -> Self {
        Self {
            address,
            agent: agent.map(|agent| cut(agent).into()),
            trace: traceparent.and_then(trace_id).map(Into::into),
        }
    }
}

/// The trace's id in a `traceparent`: version, 32 hex digits, 16 hex digits, flags.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (id.len() == 32 && id.bytes().all(hex)).then_some(id)
}

/// The beginning of a client's text, as long as a line may have it.
#[must_use]
pub(crate) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or(text)
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// Its client.
    Client,
    /// Nobody: it was not used for `session.ttl`, or `session.lifetime` has passed.
    Expiry,
    /// An operator, or the program that embeds the node.
    Operator,
    /// A quota, which makes room for a newer one.
    Quota,
}

impl EndedBy {
    /// How a line says it.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Expiry => "expiry",
            Self::Operator => "operator",
            Self::Quota => "quota",
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// A session was made.
    SessionMade,
    /// A session has ended.
    SessionEnded(EndedBy),
    /// A request was refused.
    Denied {
        /// The refusal's label.
        reason: &'static str,
        /// How many of its kind and caller the line stands for.
        count: u64,
    },
    /// A request lacked a scope.
    ScopeDenied {
        /// Those that were wanted.
        scopes: &'a str,
        /// The tool that it called, if it called one.
        tool: Option<&'a str>,
    },
    /// A tool was called, and has ended.
    ToolCalled {
        /// Its name. A name that no tool has is a client's word, and left out.
        tool: Option<&'a str>,
        /// How it ended.
        outcome: &'static str,
        /// What it was given, as JSON, if the settings ask for that.
        arguments: Option<&'a str>,
    },
    /// An issuer's keys have changed.
    KeysChanged {
        /// Whose.
        issuer: &'a str,
    },
    /// The certificate that the node serves has changed.
    CertificateChanged {
        /// What became of the new one.
        outcome: &'static str,
    },
    /// Limits are the node's own from now on, because the store is away, or those of all nodes again.
    LimitsLocal {
        /// Whether they are its own.
        local: bool,
    },
    /// An operator did something by the command line.
    Admin {
        /// What.
        command: &'static str,
    },
}

impl Act<'_> {
    /// A request was refused, or as many as `count`. What lacks a scope has an event of its own.
    pub(super) const fn denied(reason: &'static str, count: u64) -> Self {
        Self::Denied { reason, count }
    }

    /// What the act is called.
    #[must_use]
    pub(crate) const fn event(&self) -> &'static str {
        match self {
            Self::SessionMade => "session_made",
            Self::SessionEnded(_) => "session_ended",
            Self::Denied { .. } => "denied",
            Self::ScopeDenied { .. } => "scope_denied",
            Self::ToolCalled { .. } => "tool_called",
            Self::KeysChanged { .. } => "keys_changed",
            Self::CertificateChanged { .. } => "certificate_changed",
            Self::LimitsLocal { .. } => "limits_local",
            Self::Admin { .. } => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_from_a_whole_traceparent_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |text: &str| CameFrom::new(None, None, Some(text)).trace;
        assert_eq!(of(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for bad in [
            "",
            "00",
            "00-abc-def-01",
            &format!("00-{}-x-01", id.to_uppercase()),
            id,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_clients_text_is_cut_between_characters() {
        let long = "ü".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&long), "ü".repeat(TEXT_BYTES_MAX / 2));
        assert_eq!(cut("short"), "short");
    }
}
