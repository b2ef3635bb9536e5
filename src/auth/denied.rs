//! Why credentials do not count.

use std::time::Duration;

/// Why a request's credentials do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There are none, or of a kind that is not asked for.
    Missing,
    /// There is a token in the URL.
    InQuery,
    /// They are there and do not count.
    Invalid(Flaw),
    /// They cannot be checked now.
    Unavailable,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is none that this server knows, and no JWT.
    Unknown,
    /// It cannot be read, or is of another kind than an access token.
    Malformed,
    /// Its signature does not fit, or nobody knows its key.
    Signature,
    /// It is of an issuer that this server does not trust.
    Issuer,
    /// It is for another server.
    Audience,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    Early,
    /// Its issuer has withdrawn it.
    Revoked,
}

/// When a client may ask again whose token cannot be checked.
pub(crate) const UNAVAILABLE_FOR: Duration = Duration::from_secs(5);

impl Flaw {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Malformed,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::Early,
        Self::Revoked,
    ];

    /// What the client is told (`error_description`; RFC 6750, section 3). Fixed words: clients look for parameters
    /// in the whole header.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Unknown => "unknown token",
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Early => "not yet valid",
            Self::Revoked => "revoked",
        }
    }

    /// The label used in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Revoked => "revoked",
        }
    }
}
