//! A session restored on this node: what is kept of it, and what may change while it is.

use std::collections::BTreeSet;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rmcp::model::{ClientCapabilities, Implementation};
use tokio_util::sync::CancellationToken;

use super::seen::ClientTraits;
use super::subscribers::{Subscribers, Subscriptions};
use crate::protocol::era::Revision;
use crate::session::{Introduction, LogLevel, SessionId, SessionRecord};

/// Stands for "no level set".
const NO_LEVEL: u8 = u8::MAX;

/// A session restored on this node.
#[derive(Debug)]
pub(crate) struct CachedSession {
    /// The session's id.
    pub id: SessionId,
    /// The id's tag, for logs.
    pub tag: String,
    /// The session as it was when it was restored. The methods give what changes later, and the client's
    /// description.
    pub record: SessionRecord,
    /// Whether this node did not make the session but restored it from the store.
    pub restored: bool,
    /// Fires when the session has ended.
    pub ended: CancellationToken,
    /// Held while this node tells the session of changes, so that it tells each once.
    pub telling: tokio::sync::Mutex<()>,
    /// What this node has seen of its client.
    pub seen: ClientTraits,
    who: RwLock<ClientIdentity>,
    level: AtomicU8,
    subscriptions: RwLock<Subscriptions>,
    touched_ms: AtomicU64,
    /// Whether this node has learned of further subscriptions of the session.
    has_subscribed: AtomicBool,
}

/// What a client has said of itself, shared with every request's caller.
#[derive(Debug, Clone)]
pub(crate) struct ClientIdentity {
    /// The negotiated revision.
    pub revision: Revision,
    /// The client's description.
    pub client: Arc<Implementation>,
    /// The client's capabilities.
    pub capabilities: Arc<ClientCapabilities>,
    /// The `User-Agent` of its `initialize`; empty if that is not known.
    pub agent: Arc<str>,
}

impl ClientIdentity {
    /// Takes it out of the record.
    fn of(record: &mut SessionRecord) -> Self {
        let missing = Introduction::missing().client_info;
        Self {
            revision: record.revision,
            client: Arc::new(mem::replace(&mut record.client_info, missing)),
            capabilities: Arc::new(mem::take(&mut record.capabilities)),
            agent: mem::take(&mut record.agent).into(),
        }
    }
}

impl CachedSession {
    /// A session restored from `record`, which was touched then, by the monotonic clock. Its subscriptions
    /// are in `subscribers` as long as it lives.
    #[must_use]
    pub(crate) fn new(
        id: SessionId,
        mut record: SessionRecord,
        restored: bool,
        touched_ms: u64,
        subscribers: Arc<Subscribers>,
    ) -> Self {
        let subscriptions = Subscriptions::new(id.clone(), record.subscriptions.clone(), subscribers);
        Self {
            tag: id.tag(),
            id,
            who: RwLock::new(ClientIdentity::of(&mut record)),
            restored,
            ended: CancellationToken::new(),
            telling: tokio::sync::Mutex::default(),
            seen: ClientTraits::default(),
            level: AtomicU8::new(record.log_level.map_or(NO_LEVEL, |level| level as u8)),
            subscriptions: RwLock::new(subscriptions),
            // The load itself does not touch: the first request does.
            touched_ms: AtomicU64::new(touched_ms),
            has_subscribed: AtomicBool::new(false),
            record,
        }
    }

    /// The client as it has introduced itself.
    #[must_use]
    pub(crate) fn who(&self) -> ClientIdentity {
        self.who.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has introduced itself at all.
    #[must_use]
    pub(crate) fn is_introduced(&self) -> bool {
        *self.who().client != Introduction::missing().client_info
    }

    /// The revision negotiated with it.
    #[must_use]
    pub(crate) fn revision(&self) -> Revision {
        self.who.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// The least severe log message the session wants now: what it set, or `Info`.
    #[must_use]
    pub(crate) fn log_level(&self) -> LogLevel {
        let level = usize::from(self.level.load(Ordering::Acquire));
        LogLevel::ALL.get(level).copied().unwrap_or(LogLevel::Info)
    }

    /// What the session is subscribed to now.
    #[must_use]
    pub(crate) fn subscriptions(&self) -> Arc<BTreeSet<String>> {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(subscriptions.now())
    }

    /// Takes over what has changed since.
    pub(super) fn apply(&self, mut record: SessionRecord) {
        *self.who.write().unwrap_or_else(PoisonError::into_inner) = ClientIdentity::of(&mut record);
        self.seen.set_last(0);
        self.level.store(
            record.log_level.map_or(NO_LEVEL, |level| level as u8),
            Ordering::Release,
        );
        let mut subscriptions = self.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        if !record.subscriptions.is_subset(subscriptions.now()) {
            self.has_subscribed.store(true, Ordering::Release);
        }
        subscriptions.set(record.subscriptions);
    }

    /// Whether this node has learned of further subscriptions of the session since the last call. The session
    /// may have missed changes of those resources.
    #[must_use]
    pub(crate) fn take_has_subscribed(&self) -> bool {
        self.has_subscribed.swap(false, Ordering::AcqRel)
    }

    /// Whether the store should be told of activity: true once for each `interval_ms` of use.
    #[must_use]
    pub(crate) fn touch_is_due(&self, now_ms: u64, interval_ms: u64) -> bool {
        let last = self.touched_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(last) >= interval_ms
            && self
                .touched_ms
                .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
