//! Which topics have changed, and when, by versions that never come again.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::MemoryStore;
use super::log::after;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::changes::{ChangeStore, KnownVersions, LISTS, OwnChange, TOPICS_MAX, ToldVersion, Topic};

/// What one session was told, and the versions of its own resources.
#[derive(Debug, Default)]
pub(super) struct SessionChanges {
    lists: [Option<u64>; LISTS.len()],
    // Few sessions subscribe to anything.
    resources: Option<Box<ResourceVersions>>,
}

#[derive(Debug, Default)]
struct ResourceVersions {
    told: HashMap<String, u64>,
    own_told: HashMap<String, u64>,
    own_versions: HashMap<String, u64>,
}

impl SessionChanges {
    /// The session wants to know of that no longer.
    pub(super) fn unsubscribe(&mut self, uri: &str) {
        if let Some(resources) = &mut self.resources {
            resources.told.remove(uri);
            resources.own_told.remove(uri);
            resources.own_versions.remove(uri);
        }
    }

    fn told(&self, topic: &Topic) -> Option<u64> {
        match topic {
            Topic::Resource(uri) => self.resources.as_ref()?.told.get(uri).copied(),
            list => {
                let index = LISTS.iter().position(|known| known == list)?;
                *self.lists.get(index)?
            }
        }
    }

    fn note_told(&mut self, topic: &Topic, version: u64) {
        match topic {
            Topic::Resource(uri) => {
                self.resources().told.insert(uri.clone(), version);
            }
            list => {
                let mut lists = LISTS.iter().zip(&mut self.lists);
                if let Some((_, told)) = lists.find(|(known, _)| *known == list) {
                    *told = Some(version);
                }
            }
        }
    }

    fn own(&self, uri: &str) -> (u64, u64) {
        let Some(resources) = &self.resources else {
            return (0, 0);
        };
        let of = |versions: &HashMap<String, u64>| versions.get(uri).copied().unwrap_or_default();
        (of(&resources.own_versions), of(&resources.own_told))
    }

    fn resources(&mut self) -> &mut ResourceVersions {
        self.resources.get_or_insert_default()
    }
}

/// The versions of topics.
#[derive(Debug, Default)]
pub(super) struct Changes {
    of: BTreeMap<Topic, u64>,
    by_age: BTreeMap<u64, Topic>,
    /// The highest that was given.
    newest: u64,
    /// That of all which have made room.
    oldest: u64,
    ends: Option<Instant>,
}

impl Changes {
    /// A version that was never given before.
    pub(super) fn next(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    pub(super) fn note(&mut self, topic: &Topic, ttl: Duration) {
        if self.have_ended() {
            (self.of, self.by_age, self.oldest) = Default::default();
        }
        let version = self.next();
        if let Some(before) = self.of.insert(topic.clone(), version) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(version, topic.clone());
        if self.of.len() > TOPICS_MAX {
            self.make_room();
        }
        self.ends = Some(after(ttl));
    }

    fn make_room(&mut self) {
        let lists: Vec<_> = LISTS
            .into_iter()
            .filter_map(|list| self.of.remove_entry(&list))
            .collect();
        for (_, version) in &lists {
            self.by_age.remove(version);
        }
        for _ in 0..TOPICS_MAX.div_ceil(4) {
            if let Some((version, topic)) = self.by_age.pop_first() {
                self.of.remove(&topic);
                self.oldest = version;
            }
        }
        for (list, version) in lists {
            self.by_age.insert(version, list.clone());
            self.of.insert(list, version);
        }
    }

    pub(super) fn version(&self, topic: &Topic) -> u64 {
        let unknown = if LISTS.contains(topic) { 0 } else { self.oldest };
        match self.have_ended() {
            true => 0,
            false => self.of.get(topic).copied().unwrap_or(unknown),
        }
    }

    fn have_ended(&self) -> bool {
        self.ends.is_none_or(|end| end <= Instant::now())
    }
}

#[async_trait]
impl ChangeStore for MemoryStore {
    async fn note_change(&self, topic: &Topic, ttl: Duration) -> Result<(), StoreError> {
        self.lock().changes.note(topic, ttl);
        Ok(())
    }

    async fn changes(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError> {
        let inner = self.lock();
        let versions = topics.iter().map(|topic| inner.changes.version(topic));
        Ok(versions.collect())
    }

    async fn note_own_change(&self, session: &SessionId, uri: &str) -> Result<OwnChange, StoreError> {
        let mut inner = self.lock();
        let version = inner.changes.next();
        let Some(session) = inner.sessions.get_mut(session) else {
            return Ok(OwnChange::Unwanted);
        };
        if !session.record.subscriptions.contains(uri) {
            return Ok(OwnChange::Unwanted);
        }
        session
            .streams
            .changes
            .resources()
            .own_versions
            .insert(uri.to_owned(), version);
        let mut carriers = session.streams.carriers().into_iter();
        Ok(match carriers.any(|(stream, _)| stream.stands()) {
            true => OwnChange::Carried,
            false => OwnChange::Noted,
        })
    }

    async fn told(
        &self,
        session: &SessionId,
        topics: &[Topic],
        own: &[String],
    ) -> Result<KnownVersions, StoreError> {
        let mut inner = self.lock();
        let nothing = SessionChanges::default();
        let known = inner
            .streams(session)
            .map_or(&nothing, |streams| &streams.changes);
        let topics = topics.iter().map(|topic| known.told(topic));
        let own = own.iter().map(|uri| known.own(uri));
        Ok(KnownVersions {
            topics: topics.collect(),
            own: own.collect(),
        })
    }

    async fn note_told(&self, session: &SessionId, told: &[ToldVersion<'_>]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(session) else {
            return Ok(());
        };
        let subscriptions = &session.record.subscriptions;
        let wanted = |topic: &Topic| !matches!(topic, Topic::Resource(uri) if !subscriptions.contains(uri));
        let known = &mut session.streams.changes;
        for told in told {
            match *told {
                ToldVersion::First(topic, version) if wanted(topic) && known.told(topic).is_none() => {
                    known.note_told(topic, version);
                }
                ToldVersion::Topic(topic, version) if wanted(topic) && known.told(topic) < Some(version) => {
                    known.note_told(topic, version);
                }
                ToldVersion::Own(uri, version)
                    if subscriptions.contains(uri) && known.own(uri).1 < version =>
                {
                    known.resources().own_told.insert(uri.to_owned(), version);
                }
                ToldVersion::First(..) | ToldVersion::Topic(..) | ToldVersion::Own(..) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_changed_longest_ago_makes_room_and_counts_as_changed() {
        let topic = |n: usize| Topic::Resource(n.to_string());
        let mut changes = Changes::default();
        changes.note(&Topic::Tools, LONG);
        for n in 2..TOPICS_MAX + 2 {
            changes.note(&topic(n), LONG);
        }
        let left = TOPICS_MAX + 1 - TOPICS_MAX / 4;
        assert_eq!((changes.of.len(), changes.by_age.len()), (left, left));
        assert_eq!(changes.version(&Topic::Tools), 1, "a list stays");
        assert_eq!(changes.version(&Topic::Prompts), 0, "and has not changed");
        let last_gone = TOPICS_MAX / 4 + 1;
        for n in [2, last_gone, usize::MAX] {
            assert_eq!(
                changes.version(&topic(n)),
                last_gone as u64,
                "{n} may have changed"
            );
        }
        assert_eq!(changes.version(&topic(last_gone + 1)), last_gone as u64 + 1);
        changes.note(&topic(2), LONG);
        assert_eq!(changes.version(&topic(2)), TOPICS_MAX as u64 + 2);
    }
}
