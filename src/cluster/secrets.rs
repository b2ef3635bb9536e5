//! The keys that seal MRTR `requestState` (SEP-2322), the same on every node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rmcp::model::{RequestStateCodec, RequestStateError};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::causes::causes;
use crate::random;
use crate::session::secrets::{NewSecret, Secrets};
use crate::session::{Clock, StateError};
use crate::store::Store;

/// How often a node looks whether the shared keys have changed.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// A key younger than this is not used to seal unless it is the only one: other nodes may not know it yet.
const SETTLE_MS: u64 = 3 * 60 * 1000;
/// When a key stops being the newest, at the soonest. A key opens for one more such period, so nothing sealed
/// may live longer than that: see [`RequestStateKeys::shared`].
const ROTATE_AFTER_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// For how many rotations the keys stay after the last node has gone.
const KEEP_ROTATIONS: u32 = 3;
/// The length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// The id of a key that the settings give.
const CONFIGURED: &str = "configured";

/// Why there is no key to seal with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The store did not give one.
    #[error("could not share a secret through the store")]
    Store(#[from] StateError),
    /// It cannot be used.
    #[error("request_state.secret cannot be used")]
    Unusable(#[from] RequestStateError),
}

/// The codec in use, replaced as keys come and go.
pub(crate) struct RequestStateKeys {
    codec: RwLock<Arc<RequestStateCodec>>,
    /// The keys that this node has seen: a store that was emptied forgets them, and clients still bring what
    /// they sealed.
    known: Mutex<BTreeMap<String, String>>,
    rotate_after: Duration,
    /// The store's clock, by which keys age: a node whose own clock is ahead must not end them for all.
    clock: Clock,
}

impl fmt::Debug for RequestStateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestStateKeys")
    }
}

impl RequestStateKeys {
    /// Seals with the secret from the settings, the same on all nodes because the operator has set it.
    ///
    /// # Errors
    /// [`SecretError::Unusable`].
    pub(crate) fn configured(secret: &str, clock: Clock) -> Result<Self, SecretError> {
        let codec = RequestStateCodec::new_with_keyring(CONFIGURED, [(CONFIGURED, secret.as_bytes())])?;
        Ok(Self {
            codec: RwLock::new(Arc::new(codec)),
            known: Mutex::default(),
            rotate_after: ROTATE_AFTER_MIN,
            clock,
        })
    }

    /// Seals with keys shared through the store. What is sealed can be opened for at least `ttl`.
    ///
    /// # Errors
    /// [`SecretError`].
    pub(crate) async fn shared(store: &dyn Store, ttl: Duration, clock: Clock) -> Result<Self, SecretError> {
        let rotate_after = ttl.max(ROTATE_AFTER_MIN);
        let secrets = fetch(store, rotate_after, clock.now_ms()).await?;
        Ok(Self {
            codec: RwLock::new(Arc::new(codec_of(&secrets, clock.now_ms())?)),
            known: Mutex::new(secrets.all),
            rotate_after,
            clock,
        })
    }

    /// The codec to seal and open with now.
    #[must_use]
    pub(crate) fn codec(&self) -> Arc<RequestStateCodec> {
        Arc::clone(&self.codec.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn refresh(&self, store: &dyn Store) -> Result<(), SecretError> {
        let mut secrets = fetch(store, self.rotate_after, self.clock.now_ms()).await?;
        let now_ms = self.clock.now_ms();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        remember(&mut secrets, &known, now_ms, self.rotate_after);
        let codec = Arc::new(codec_of(&secrets, now_ms)?);
        *known = secrets.all;
        drop(known);
        *self.codec.write().unwrap_or_else(PoisonError::into_inner) = codec;
        Ok(())
    }

    /// Follows the shared keys for as long as the node runs.
    pub(crate) async fn follow(self: Arc<Self>, store: Arc<dyn Store>) {
        let mut ticks = interval(REFRESH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.refresh(store.as_ref()).await {
                Ok(()) => {}
                Err(error) => warn!(
                    error = %causes(&error),
                    "could not refresh the shared secret"
                ),
            }
        }
    }
}

async fn fetch(store: &dyn Store, rotate_after: Duration, now_ms: u64) -> Result<Secrets, StateError> {
    store
        .secrets(&offer(now_ms), rotate_after, rotate_after * KEEP_ROTATIONS)
        .await
}

fn codec_of(secrets: &Secrets, now_ms: u64) -> Result<RequestStateCodec, SecretError> {
    let active = sealing_key(secrets, now_ms);
    Ok(RequestStateCodec::new_with_keyring(
        active,
        secrets.all.iter().map(|(name, text)| (name, text.as_bytes())),
    )?)
}

fn offer(now_ms: u64) -> NewSecret {
    let bytes: [u8; KEY_BYTES] = random::bytes();
    // The name begins with the time, so that names sort by age.
    let name = format!("{now_ms:015}-{:08x}", random::number(1 << 32));
    NewSecret {
        name,
        text: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        now_ms,
    }
}

/// When a key was made, which its name says.
fn made_ms(name: &str) -> Option<u64> {
    name.split('-').next().and_then(|time| time.parse().ok())
}

/// Adds the keys that a node knows to those that the store still has, except those that are too old to use.
fn remember(secrets: &mut Secrets, known: &BTreeMap<String, String>, now_ms: u64, rotate_after: Duration) {
    let life_ms = u64::try_from(rotate_after.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_mul(2);
    let useful = |name: &str| made_ms(name).is_some_and(|made| now_ms.saturating_sub(made) <= life_ms);
    for (name, text) in known.iter().filter(|(name, _)| useful(name)) {
        secrets.all.entry(name.clone()).or_insert_with(|| text.clone());
    }
}

/// The newest key that every node has had time to learn of; failing that, the oldest.
fn sealing_key(secrets: &Secrets, now_ms: u64) -> String {
    let settled = |name: &&String| made_ms(name).is_some_and(|made| made + SETTLE_MS <= now_ms);
    let names = || secrets.all.keys();
    names()
        .rev()
        .find(settled)
        .or_else(|| names().next())
        .unwrap_or(&secrets.newest)
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(names: &[&str]) -> Secrets {
        let all = names
            .iter()
            .map(|name| ((*name).to_owned(), "x".repeat(64)))
            .collect();
        Secrets {
            newest: names[names.len() - 1].to_owned(),
            all,
        }
    }

    #[test]
    fn a_store_that_was_emptied_does_not_make_nodes_forget_what_they_sealed_with() {
        let day_ms = 24 * 60 * 60 * 1000;
        let known = secrets(&["000000000000001-a", "000000172800000-b"]).all;
        let now_ms = 172_900_000;
        let mut emptied = secrets(&["000000172900000-c"]);
        remember(&mut emptied, &known, now_ms, Duration::from_millis(day_ms));
        let names: Vec<_> = emptied.all.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["000000172800000-b", "000000172900000-c"],
            "one is too old"
        );
        // Neither key has settled; the older one is what other nodes know.
        assert_eq!(sealing_key(&emptied, now_ms), "000000172800000-b");
    }

    #[test]
    fn a_key_seals_only_when_every_node_has_had_time_to_learn_of_it() {
        let both = secrets(&["000000000001000-a", "000000000500000-b"]);
        assert_eq!(sealing_key(&both, 500_001), "000000000001000-a");
        assert_eq!(sealing_key(&both, 500_000 + SETTLE_MS), "000000000500000-b");
        let only = secrets(&["000000000500000-b"]);
        assert_eq!(sealing_key(&only, 500_001), "000000000500000-b");
    }
}
