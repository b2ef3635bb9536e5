//! The revisions that a server serves: all that it knows, or those that its operator chose.

use std::fmt;

use super::era::{Era, Revision};

/// A set of revisions, never empty: for each, in the order of [`Revision::ALL`], whether it is in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revisions([bool; Revision::ALL.len()]);

impl Revisions {
    /// All.
    pub(crate) const ALL: Self = Self([true; Revision::ALL.len()]);

    /// These; all if there is none.
    #[must_use]
    pub(crate) fn of(revisions: &[Revision]) -> Self {
        match revisions {
            [] => Self::ALL,
            some => Self(Revision::ALL.map(|revision| some.contains(&revision))),
        }
    }

    /// Whether it has this one.
    #[must_use]
    pub(crate) fn contains(self, revision: Revision) -> bool {
        self.0.get(revision as usize) == Some(&true)
    }

    /// Each of them, oldest first.
    pub(crate) fn each(self) -> impl DoubleEndedIterator<Item = Revision> {
        let all = Revision::ALL.into_iter();
        all.filter(move |revision| self.contains(*revision))
    }

    /// Their names, oldest first.
    #[must_use]
    pub(crate) fn names(self) -> Vec<&'static str> {
        self.each().map(Revision::as_str).collect()
    }

    /// The one of that name.
    #[must_use]
    pub(crate) fn parse(self, name: &str) -> Option<Revision> {
        Revision::parse(name).filter(|revision| self.contains(*revision))
    }

    /// Those of one era.
    pub(crate) fn in_era(self, era: Era) -> impl DoubleEndedIterator<Item = Revision> {
        self.each().filter(move |revision| revision.era() == era)
    }

    /// The answer to an `initialize` that asks for `requested`: the same when it is served and has the
    /// handshake, else the newest that has (2025-11-25, Lifecycle, "Version Negotiation"). `None` when no
    /// revision with a handshake is served.
    #[must_use]
    pub(crate) fn negotiate(self, requested: &str) -> Option<Revision> {
        let legacy = || self.in_era(Era::Legacy);
        let same = legacy().find(|revision| revision.as_str() == requested);
        same.or_else(|| legacy().next_back())
    }
}

impl fmt::Display for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_echoes_what_is_served_and_else_offers_the_newest_with_a_handshake() {
        let all = |requested| Revisions::ALL.negotiate(requested).map(Revision::as_str);
        assert_eq!(all("2024-11-05"), Some("2024-11-05"));
        assert_eq!(all("2025-06-18"), Some("2025-06-18"));
        for other in ["2026-07-28", "2031-01-01", ""] {
            assert_eq!(all(other), Some("2025-11-25"), "{other}");
        }
        let some = Revisions::of(&[
            Revision::V2025_06_18,
            Revision::V2026_07_28,
            Revision::V2024_11_05,
        ]);
        let some = |requested| some.negotiate(requested).map(Revision::as_str);
        assert_eq!(some("2024-11-05"), Some("2024-11-05"));
        assert_eq!(some("2025-11-25"), Some("2025-06-18"));
        assert_eq!(
            Revisions::of(&[Revision::V2026_07_28]).negotiate("2025-11-25"),
            None
        );
    }

    #[test]
    fn a_set_names_its_members_in_order_and_is_never_empty() {
        let some = Revisions::of(&[Revision::V2026_07_28, Revision::V2025_03_26]);
        assert_eq!(some.to_string(), "2025-03-26, 2026-07-28");
        assert!(some.contains(Revision::V2025_03_26) && !some.contains(Revision::V2025_06_18));
        assert_eq!(some.parse("2025-06-18"), None);
        assert_eq!(Revisions::of(&[]), Revisions::ALL);
    }
}
