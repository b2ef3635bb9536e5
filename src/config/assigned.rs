//! A setting with its value, and where that comes from.

use super::problem::Problem;

/// What the defaults are called as a source.
pub(super) const DEFAULT: &str = "default";
/// What the source of a default is called that gave way to another setting.
const FITTED: &str = "default, fitted to other settings";

/// A setting with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The setting, such as `session.ttl`.
    pub(crate) name: String,
    /// Its value, masked when it is secret.
    pub(crate) value: String,
    /// Where it comes from: the defaults, a file's path, an environment variable, or a flag.
    pub(crate) source: String,
}

impl Assigned {
    /// Whether nobody has set it.
    pub(crate) fn is_default(&self) -> bool {
        self.source == DEFAULT || self.source == FITTED
    }

    /// Notes what a default has become.
    pub(super) fn fit(&mut self, value: String) {
        if self.value != value {
            self.value = value;
            FITTED.clone_into(&mut self.source);
        }
    }

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
