//! Why there is no TLS: the setting, and what is wrong with its file.

use std::path::Path;

/// A file of `[tls]` that cannot be used. The message is one line that names the setting and the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct TlsError {
    setting: &'static str,
    why: String,
}

impl TlsError {
    pub(super) const fn setting(setting: &'static str, why: String) -> Self {
        Self { setting, why }
    }

    #[cfg(feature = "tls")]
    pub(super) fn file(setting: &'static str, path: &Path, why: &str) -> Self {
        Self::setting(setting, format!("{}: {why}", path.display()))
    }
}
