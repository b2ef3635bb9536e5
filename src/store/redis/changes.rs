//! Versions of what changes in Redis: a sorted set of topics, and fields of the sessions.

use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;

use super::sessions::unexpected;
use super::{RedisStore, keys, millis, record};
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::changes::{ChangeStore, KnownVersions, LISTS, OwnChange, TOPICS_MAX, ToldVersion, Topic};

#[async_trait]
impl ChangeStore for RedisStore {
    async fn note_change(&self, topic: &Topic, ttl: Duration) -> Result<(), StoreError> {
        let key = self.keys.versions();
        let args = [keys::topic(topic), millis(ttl), TOPICS_MAX.to_string()].into_iter();
        let args = args
            .chain(LISTS.iter().map(keys::topic))
            .map(Value::from)
            .collect();
        self.script::<u64>("note_change", &self.scripts.note_change, &[&key], args)
            .await
            .map(drop)
    }

    async fn changes(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError> {
        if topics.is_empty() {
            return Ok(vec![]);
        }
        let key = self.keys.versions();
        let members = topics.iter().map(|topic| keys::topic(topic).into());
        // Of all that have made room.
        let members = members.chain([Value::from("")]);
        let args = [key.as_str().into()].into_iter().chain(members).collect();
        let scores: Vec<Option<f64>> = self.ask("changes", "ZMSCORE", &key, args).await?;
        let mut versions = scores.into_iter().map(|score| score.map(version));
        let oldest = versions.next_back().flatten().unwrap_or_default();
        let versions = versions.zip(topics);
        Ok(versions
            .map(|(version, topic)| version.unwrap_or(if LISTS.contains(topic) { 0 } else { oldest }))
            .collect())
    }

    async fn note_own_change(&self, session: &SessionId, uri: &str) -> Result<OwnChange, StoreError> {
        let key = self.keys.session(session);
        let args = vec![uri.into(), record::subscription(uri)?.into()];
        let noted: String = self
            .script("note_own_change", &self.scripts.note_own_change, &[&key], args)
            .await?;
        match noted.as_str() {
            "carried" => Ok(OwnChange::Carried),
            "noted" => Ok(OwnChange::Noted),
            "unwanted" => Ok(OwnChange::Unwanted),
            _ => Err(unexpected("note_own_change", &[noted])),
        }
    }

    async fn told(
        &self,
        session: &SessionId,
        topics: &[Topic],
        own: &[String],
    ) -> Result<KnownVersions, StoreError> {
        if topics.is_empty() && own.is_empty() {
            return Ok(KnownVersions::default());
        }
        let key = self.keys.session(session);
        let of_topics = topics.iter().map(keys::told);
        let of_own = own.iter().flat_map(|uri| [keys::own(uri), keys::told_own(uri)]);
        let fields = of_topics.chain(of_own).map(Value::from);
        let args = [key.as_str().into()].into_iter().chain(fields).collect();
        let mut known: Vec<Option<u64>> = self.ask("told", "HMGET", &key, args).await?;
        let own = known.split_off(topics.len().min(known.len()));
        let pairs = own.as_chunks::<2>().0.iter();
        let own = pairs.map(|[version, told]| (version.unwrap_or_default(), told.unwrap_or_default()));
        Ok(KnownVersions {
            own: own.collect(),
            topics: known,
        })
    }

    async fn note_told(&self, session: &SessionId, told: &[ToldVersion<'_>]) -> Result<(), StoreError> {
        let key = self.keys.session(session);
        let mut args: Vec<Value> = Vec::with_capacity(told.len() * 4);
        for told in told {
            let (field, version, first, uri) = match *told {
                ToldVersion::First(topic, version) => (keys::told(topic), version, "1", uri_of(topic)),
                ToldVersion::Topic(topic, version) => (keys::told(topic), version, "0", uri_of(topic)),
                ToldVersion::Own(uri, version) => (keys::told_own(uri), version, "0", Some(uri)),
            };
            let subscription = uri.map(record::subscription).transpose()?.unwrap_or_default();
            args.extend([
                field.into(),
                version.to_string().into(),
                first.into(),
                subscription.into(),
            ]);
        }
        self.script::<u64>("note_told", &self.scripts.note_told, &[&key], args)
            .await
            .map(drop)
    }
}

/// What a session must be subscribed to, to want to know of that.
fn uri_of(topic: &Topic) -> Option<&str> {
    match topic {
        Topic::Resource(uri) => Some(uri),
        Topic::Tools | Topic::Prompts | Topic::Resources => None,
    }
}

/// A version as Redis has it: microseconds since 1970, which a double holds until the year 2255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a whole number from 0 to 2^53"
)]
fn version(score: f64) -> u64 {
    score as u64
}
