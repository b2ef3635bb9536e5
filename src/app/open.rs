//! Opens the store that the settings name.

use std::sync::Arc;

use crate::config::Settings;
use crate::store::Store;
use crate::store::memory::MemoryStore;
#[cfg(feature = "redis")]
use crate::store::redis::{ConnectError, RedisStore};

/// Why a store could not be opened.
#[cfg(feature = "redis")]
pub(crate) type OpenError = ConnectError;

/// Why a store could not be opened.
#[cfg(not(feature = "redis"))]
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("REDIS_URL names a Redis, and this program was built without the feature `redis`")]
pub struct OpenError;

/// Opens the store that the settings name: Redis if there is a `REDIS_URL`, else the embedded one, in memory.
///
/// # Errors
/// [`OpenError`] says whether the settings are wrong, or Redis is out of reach.
pub(crate) async fn store(settings: &Settings) -> Result<Arc<dyn Store>, OpenError> {
    if settings.redis_url.is_empty() {
        return Ok(Arc::new(MemoryStore::new()));
    }
    Ok(redis(settings).await?)
}

/// Opens the Redis that the settings name, for operators' commands that ask more of it than a store must do.
///
/// # Errors
/// As [`store`].
#[cfg(feature = "redis")]
pub(crate) async fn redis(settings: &Settings) -> Result<Arc<RedisStore>, OpenError> {
    let store = RedisStore::connect(&settings.redis_url, &settings.store).await?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "it is awaited where there is a Redis")]
async fn redis(_settings: &Settings) -> Result<Arc<MemoryStore>, OpenError> {
    Err(OpenError)
}
