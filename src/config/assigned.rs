//! A setting that was set, and where.

use super::problem::Problem;

/// A setting that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The setting, such as `session.ttl`.
    pub(crate) name: String,
    /// Its value, masked when it is secret.
    pub(crate) value: String,
    /// Where it comes from: a file's path, an environment variable, or a flag.
    pub(crate) source: String,
}

impl Assigned {
    /// What is wrong with it.
    pub(super) fn problem(&self, expected: String) -> Problem {
        Problem {
            setting: self.name.clone(),
            source: self.source.clone(),
            value: Some(self.value.clone()),
            expected,
        }
    }
}
