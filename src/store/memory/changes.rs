//! Which topics have changed, and when, by versions that never come again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::log::after;
use crate::random::HashMap;
use crate::store::Limits;
use crate::store::changes::{LISTS, Topic};

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

    pub(super) fn told(&self, topic: &Topic) -> Option<u64> {
        match topic {
            Topic::Resource(uri) => self.resources.as_ref()?.told.get(uri).copied(),
            list => {
                let index = LISTS.iter().position(|known| known == list)?;
                *self.lists.get(index)?
            }
        }
    }

    pub(super) fn note_told(&mut self, topic: &Topic, version: u64) {
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

    /// The version of a resource of its own, and the one that it was told of.
    pub(super) fn own(&self, uri: &str) -> (u64, u64) {
        let Some(resources) = &self.resources else {
            return (0, 0);
        };
        let of = |versions: &HashMap<String, u64>| versions.get(uri).copied().unwrap_or_default();
        (of(&resources.own_versions), of(&resources.own_told))
    }

    pub(super) fn note_own(&mut self, uri: &str, version: u64) {
        self.resources().own_versions.insert(uri.to_owned(), version);
    }

    pub(super) fn note_told_own(&mut self, uri: &str, version: u64) {
        self.resources().own_told.insert(uri.to_owned(), version);
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
        if self.of.len() > Limits::TOPICS_MAX {
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
        for _ in 0..Limits::TOPICS_MAX.div_ceil(4) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_changed_longest_ago_makes_room_and_counts_as_changed() {
        let topic = |n: usize| Topic::Resource(n.to_string());
        let mut changes = Changes::default();
        changes.note(&Topic::Tools, LONG);
        for n in 2..Limits::TOPICS_MAX + 2 {
            changes.note(&topic(n), LONG);
        }
        let left = Limits::TOPICS_MAX + 1 - Limits::TOPICS_MAX / 4;
        assert_eq!((changes.of.len(), changes.by_age.len()), (left, left));
        assert_eq!(changes.version(&Topic::Tools), 1, "a list stays");
        assert_eq!(changes.version(&Topic::Prompts), 0, "and has not changed");
        let last_gone = Limits::TOPICS_MAX / 4 + 1;
        for n in [2, last_gone, usize::MAX] {
            assert_eq!(
                changes.version(&topic(n)),
                last_gone as u64,
                "{n} may have changed"
            );
        }
        assert_eq!(changes.version(&topic(last_gone + 1)), last_gone as u64 + 1);
        changes.note(&topic(2), LONG);
        assert_eq!(changes.version(&topic(2)), Limits::TOPICS_MAX as u64 + 2);
    }
}
