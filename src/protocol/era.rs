//! Protocol revisions, and the two eras they fall into.

use std::fmt;

use rmcp::model::ProtocolVersion;

/// A protocol revision that this server speaks. Ordered by date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, with JSON-RPC batches.
    V2025_03_26,
    /// 2025-06-18: no batches, the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// 2025-11-25: priming events on SSE streams (SEP-1699).
    V2025_11_25,
    /// 2026-07-28: no sessions, `_meta` on each request (SEP-2567, SEP-2575).
    V2026_07_28,
}

/// How a client keeps its context: in a session, or in each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// Revisions to 2025-11-25: a session, opened by `initialize`.
    Legacy,
    /// Revisions from 2026-07-28: `_meta` on each request.
    Modern,
}

impl Era {
    /// The name used in logs, metrics and `whoami`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Revision {
    /// Every revision, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The newest revision that opens a session with `initialize`.
    pub const NEWEST_LEGACY: Self = Self::V2025_11_25;

    /// The revision meant by a request without an `MCP-Protocol-Version` header
    /// (2025-06-18, Transports, "Protocol Version Header").
    pub const WITHOUT_HEADER: Self = Self::V2025_03_26;

    /// The date that names the revision on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of that name, if this server speaks it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == name)
    }

    /// The era the revision belongs to.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => Era::Legacy,
            Self::V2026_07_28 => Era::Modern,
        }
    }

    /// Whether JSON-RPC batches may be sent: only 2025-03-26 has them over Streamable HTTP.
    #[must_use]
    pub const fn allows_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Whether a stream begins with an event that has an id and no data, so that its client can come back
    /// from the start (SEP-1699).
    #[must_use]
    pub fn primes(self) -> bool {
        self >= Self::V2025_11_25
    }

    /// The same revision as rmcp names it.
    #[must_use]
    pub const fn to_rmcp(self) -> ProtocolVersion {
        match self {
            Self::V2024_11_05 => ProtocolVersion::V_2024_11_05,
            Self::V2025_03_26 => ProtocolVersion::V_2025_03_26,
            Self::V2025_06_18 => ProtocolVersion::V_2025_06_18,
            Self::V2025_11_25 => ProtocolVersion::V_2025_11_25,
            Self::V2026_07_28 => ProtocolVersion::V_2026_07_28,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_agrees_with_rmcp() {
        for revision in Revision::ALL {
            assert_eq!(Revision::parse(revision.as_str()), Some(revision));
            assert_eq!(revision.to_rmcp().as_str(), revision.as_str());
        }
        assert_eq!(Revision::parse("2025-01-01"), None);
    }

    #[test]
    fn revisions_are_ordered_by_date() {
        assert!(Revision::ALL.is_sorted());
        assert!(Revision::ALL.map(Revision::as_str).is_sorted());
    }
}
