//! Why a store did not do as asked, by its name: it is away, it refuses, or it holds what cannot be read.

use std::error::Error;

use crate::session::state::StateError;

/// What an error was caused by.
type Cause = Box<dyn Error + Send + Sync>;

/// Why a store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It did not answer, or not in time.
    #[error("the store is out of reach")]
    Unreachable(#[source] Cause),
    /// It answered that it will not.
    #[error("{}", why.words())]
    Refused {
        /// What keeps it from doing it.
        why: WhyRefused,
        /// What it answered.
        #[source]
        source: Cause,
    },
    /// It answered with something this version cannot read.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// It holds something that a newer version has written: a node of that version can read it.
    #[error("the store holds something of a newer version: {0}")]
    Newer(&'static str),
}

/// Why a store that answers refuses what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyRefused {
    /// It has no room left.
    Full,
    /// It takes no writes: it is a replica.
    ReadOnly,
    /// It takes no writes while fewer replicas follow it than it must have.
    TooFewReplicas,
    /// It takes no writes because it could not save to its disk.
    SaveFailed,
    /// This user may not do that, or is not known.
    NotPermitted,
    /// It loads its data, runs a long script, or waits for other servers of its cluster.
    NotReady,
    /// It said something else.
    Other,
}

impl WhyRefused {
    /// The label used in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::TooFewReplicas => "too_few_replicas",
            Self::SaveFailed => "save_failed",
            Self::NotPermitted => "not_permitted",
            Self::NotReady => "not_ready",
            Self::Other => "refused",
        }
    }

    /// What clients and readers of logs are told. It names no host and no key.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Full => "the store is full",
            Self::ReadOnly => "the store is read-only",
            Self::TooFewReplicas => "the store has too few replicas to take writes",
            Self::SaveFailed => "the store cannot save to its disk and takes no writes",
            Self::NotPermitted => "the store does not permit it to this server's user",
            Self::NotReady => "the store is not ready yet",
            Self::Other => "the store refused",
        }
    }

    /// Whether the same request may be served later: the store's state is in the way, and operators change
    /// that while nodes run. What it says of a request itself it will say again.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        !matches!(self, Self::Other)
    }
}

impl StoreError {
    /// The label used in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused { why, .. } => why.label(),
            Self::Corrupt(_) => "corrupt",
            Self::Newer(_) => "newer",
        }
    }

    /// What clients are told. It names no host and no key.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "the store is out of reach",
            Self::Refused { why, .. } => why.words(),
            Self::Corrupt(_) => "the store holds something unreadable",
            Self::Newer(_) => "it was written by a newer version of the server",
        }
    }

    /// Whether it is worth waiting, and meanwhile making do with what is known: an outage passes, and so may
    /// a refusal.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { why, .. } => why.may_pass(),
            Self::Corrupt(_) | Self::Newer(_) => false,
        }
    }
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unreachable(_) => Self::Unreachable(Box::new(error)),
            StoreError::Refused { .. } | StoreError::Corrupt(_) | StoreError::Newer(_) => Self::Refused {
                words: error.words(),
                source: Box::new(error),
            },
        }
    }
}
