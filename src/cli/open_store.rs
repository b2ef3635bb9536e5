//! Opens the store that the settings name.

use std::error::Error;
use std::sync::Arc;

use crate::config::Settings;
use crate::store::Store;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings make no connection possible: a wrong URL, a certificate that cannot be read, a refused password.
    #[error(transparent)]
    Settings(Box<dyn Error + Send + Sync>),
    /// It did not answer.
    #[error(transparent)]
    Unreachable(Box<dyn Error + Send + Sync>),
}

/// Opens the store that the settings name: in memory without `redis_url`, else Redis.
///
/// # Errors
/// As [`OpenError`] says.
pub async fn open_store(_settings: &Settings) -> Result<Arc<dyn Store>, OpenError> {
    Err(OpenError::Unreachable("this build has no store yet".into()))
}
