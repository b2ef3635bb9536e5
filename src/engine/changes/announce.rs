//! Makes changes known to all nodes. While the store is away, a change waits, and is tried again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::Tell;
use crate::causes::causes;
use crate::cluster::SessionError;
use crate::engine::Engine;
use crate::session::SessionId;
use crate::session::announce::{Announce, Topic};
use crate::store::changes::{Noted, Subject};
use crate::store::{NodeMessage, Recipients};
use crate::telemetry::seldom;

/// How long versions are kept after the last change of any: longer than a session has no stream, as a rule.
const VERSIONS_LIVE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How soon a failed announcement is tried again.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(1);
/// How many changes wait to be made known. Those beyond are dropped, with a warning in the log.
const UNANNOUNCED_MAX: usize = 1024; // 1024 x 1 KiB of a URI = 1 MiB

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Announcement {
    /// Something that means the same to every session.
    Topic(Topic),
    /// A resource of that session's own.
    Own(SessionId, String),
}

/// The changes that wait to be made known: one that changes again meanwhile is there once.
#[derive(Debug, Default)]
pub(super) struct Unannounced(Mutex<BTreeMap<Announcement, Again>>);

/// Whether a waiting change has happened again since. A version that it got before is then too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

impl Unannounced {
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Announcement, Again>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a change was made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has no version yet.
    Begun,
    /// It has a version: a node that looks finds it.
    Noted,
}

impl Engine {
    /// Makes a change known, as far as that is left to do.
    async fn make_known(&self, change: &Announcement, stage: &mut Stage) -> Result<(), SessionError> {
        let subject = match change {
            Announcement::Topic(topic) => Subject::Topic(topic),
            Announcement::Own(session, uri) => Subject::Own(session, uri),
        };
        // The version comes first: a node that misses the message finds the version.
        if *stage == Stage::Begun {
            let noted = self.store.note_change(subject, VERSIONS_LIVE).await?;
            *stage = Stage::Noted;
            if matches!(change, Announcement::Own(..)) && noted != Noted::Carried {
                return Ok(());
            }
        }
        match change {
            Announcement::Topic(topic) => {
                let message = NodeMessage::Topic { topic: topic.clone() };
                Ok(self.store.send(Recipients::All, &message).await?)
            }
            // No other node has to know: the message goes into the log of the session's stream.
            Announcement::Own(session, uri) => match self.sessions.recall(session).await? {
                Some(cached) => {
                    let own = std::slice::from_ref(uri);
                    Ok(self.sync_these(&cached, Tell::Changes, &[], own).await?)
                }
                None => Ok(()),
            },
        }
    }

    /// The same in a task of its own: the call that has made the change may be cancelled. When the store is
    /// away, the task tries again for as long as the store may come back, and nobody waits for it.
    async fn announce_change(self: Arc<Self>, change: Announcement) {
        let (engine, work) = (Arc::clone(&self), self.work.clone());
        let first = async move {
            let mut stage = Stage::Begun;
            let Err(error) = engine.make_known(&change, &mut stage).await else {
                return;
            };
            debug!(error = %causes(&error), "could not announce a change yet");
            let mut unannounced = engine.listeners.unannounced.lock();
            if unannounced.len() >= UNANNOUNCED_MAX {
                drop(unannounced);
                return not_announced(&error);
            }
            // The same change, if it waits already, is announced once for both.
            if let Some(waiting) = unannounced.get_mut(&change) {
                *waiting = Again::Yes;
                return;
            }
            unannounced.insert(change.clone(), Again::No);
            drop(unannounced);
            let again = Arc::clone(&engine);
            let later = async move { again.announce_later(change, stage).await };
            engine.work.spawn("announce-later", later);
        };
        work.spawn_and_wait("announce", first).await.unwrap_or_default();
    }

    async fn announce_later(self: Arc<Self>, change: Announcement, mut stage: Stage) {
        let mut until = Instant::now() + self.patience();
        loop {
            sleep(ANNOUNCE_AGAIN).await;
            // A change from now on is announced by itself. One that came meanwhile is tried for as long.
            if self.listeners.unannounced.lock().remove(&change) == Some(Again::Yes) {
                stage = Stage::Begun;
                until = Instant::now() + self.patience();
            }
            let Err(error) = self.make_known(&change, &mut stage).await else {
                return;
            };
            if Instant::now() >= until {
                return not_announced(&error);
            }
            // The same change, if it has come since and waits, is announced once for both.
            match self.listeners.unannounced.lock().entry(change.clone()) {
                Entry::Vacant(vacant) => vacant.insert(Again::No),
                Entry::Occupied(_) => return,
            };
        }
    }
}

#[async_trait]
impl Announce for Engine {
    async fn announce(self: Arc<Self>, topic: Topic) {
        self.announce_change(Announcement::Topic(topic)).await;
    }

    async fn announce_own(self: Arc<Self>, session: &SessionId, uri: &str) {
        self.announce_change(Announcement::Own(session.clone(), uri.to_owned()))
            .await;
    }
}

fn not_announced(error: &(dyn std::error::Error + 'static)) {
    let words = "a change could not be announced";
    seldom(
        words,
        |left_out| warn!(error = %causes(error), left_out, "{words}"),
    );
}
