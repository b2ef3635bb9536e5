//! Opens the store that the settings name.

use std::sync::Arc;

use crate::config::Settings;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::redis::{ConnectError, RedisStore};

/// Opens the store that the settings name: Redis if there is a `REDIS_URL`, else the embedded one, in memory.
///
/// # Errors
/// [`ConnectError`] says whether the settings are wrong, or Redis is out of reach.
pub(crate) async fn store(settings: &Settings) -> Result<Arc<dyn Store>, ConnectError> {
    if settings.redis_url.is_empty() {
        return Ok(Arc::new(MemoryStore::new()));
    }
    Ok(redis(settings).await?)
}

/// Opens the Redis that the settings name, for operators' commands that ask more of it than a store must do.
///
/// # Errors
/// As [`store`].
pub(crate) async fn redis(settings: &Settings) -> Result<Arc<RedisStore>, ConnectError> {
    let store = RedisStore::connect(&settings.redis_url, &settings.store).await?;
    Ok(Arc::new(store))
}
