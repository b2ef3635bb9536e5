//! Event logs in Redis: a hash for each stream, beside its session. And changes: a sorted set of the topics'
//! versions, and fields of the sessions.

use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;

use super::sessions::{KeySet, unexpected};
use super::{RedisStore, keys, millis, record};
use crate::session::{NodeId, SessionId};
use crate::store::Limits;
use crate::store::changes::{KnownVersions, LISTS, Noted, Subject, Told, Topic, TopicNews};
use crate::store::streams::{Appended, Attached, Event, Holder, Over, Read, Step, StreamId, StreamStore};
use crate::store::{NodeMessage, StoreError};

#[async_trait]
impl StreamStore for RedisStore {
    async fn append(
        &self,
        session: &SessionId,
        stream: &StreamId,
        data: &str,
        by: &NodeId,
        step: Option<Step<'_>>,
        ttl: Duration,
    ) -> Result<Appended, StoreError> {
        let (life, channel) = (millis(ttl), self.keys.node_start());
        let message = NodeMessage::stream(session, stream).encode();
        let by = self.acting(by);
        let events = Limits::STREAM_EVENTS_MAX.to_string();
        let (bytes, [streams, in_all]) = (Limits::STREAM_BYTES_MAX.to_string(), session_most());
        let args = [
            stream.as_str(),
            &life,
            &by,
            data,
            kind(stream),
            &events,
            &bytes,
            &streams,
            &in_all,
            &channel,
            &message,
        ];
        let number = step.map(|step| step.number.to_string()).unwrap_or_default();
        let of_call = step.map(|step| [step.call.as_str(), step.run, &number]);
        let args = args.into_iter().chain(of_call.into_iter().flatten());
        let (keys, args) = (self.log_keys(session, stream), args.map(Value::from).collect());
        let answer: Vec<String> = self.script(&self.scripts.append, &keys.each(), args).await?;
        appended("append", &answer)
    }

    async fn attach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        over: Over<'_>,
        ttl: Duration,
    ) -> Result<Attached, StoreError> {
        let (life, channel) = (millis(ttl), self.keys.node_start());
        let message = NodeMessage::stream(session, stream).encode();
        let (connection, [streams, in_all]) = (keys::holder(holder), session_most());
        let (over, from) = match over {
            Over::Any => ("any", String::new()),
            Over::Only(from) => ("only", from.map_or_else(String::new, keys::holder)),
        };
        let args = [
            stream.as_str(),
            &life,
            &connection,
            holder.node.as_str(),
            kind(stream),
            &streams,
            &in_all,
            &channel,
            &message,
            over,
            &from,
        ];
        let (keys, args) = (self.log_keys(session, stream), args.map(Value::from).into());
        let answer: Vec<String> = self.script(&self.scripts.attach, &keys.each(), args).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["attached", delivered, previous] => Ok(Attached::Attached {
                previous: keys::parse_holder(previous),
                delivered: delivered
                    .parse()
                    .map_err(|_error| unexpected("attach", &answer))?,
            }),
            ["held", by] => match keys::parse_holder(by) {
                Some(holder) => Ok(Attached::Held(holder)),
                None => Err(unexpected("attach", &answer)),
            },
            ["none"] => Ok(Attached::NoStream),
            ["gone"] => Ok(Attached::Gone),
            _ => Err(unexpected("attach", &answer)),
        }
    }

    async fn detach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let args = [
            stream.as_str().to_owned(),
            keys::holder(holder),
            millis(ttl),
            self.keys.nodes(),
            NodeMessage::stream(session, stream).encode(),
        ];
        let (keys, args) = (self.log_keys(session, stream), args.map(Value::from).into());
        self.script::<u64>(&self.scripts.detach, &keys.each(), args)
            .await
            .map(drop)
    }

    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError> {
        let keys = KeySet([
            self.keys.session(session),
            self.keys.events(session, stream.as_str()),
        ]);
        let args = [
            after.to_string(),
            Limits::READ_EVENTS_MAX.to_string(),
            keys::attach(stream),
            Limits::READ_BYTES_MAX.to_string(),
        ];
        let args = args.map(Value::from).into();
        let answer: Vec<String> = self.script(&self.scripts.read, &keys.each(), args).await?;
        if answer.is_empty() {
            return Ok(Read::Gone);
        }
        read_page(answer).ok_or_else(|| unexpected("read", &[]))
    }

    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError> {
        let keys = KeySet([
            self.keys.session(session),
            self.keys.events(session, stream.as_str()),
        ]);
        let args = vec![number.to_string().into()];
        self.script::<u64>(&self.scripts.delivered, &keys.each(), args)
            .await
            .map(drop)
    }

    async fn note_change(&self, subject: Subject<'_>, ttl: Duration) -> Result<Noted, StoreError> {
        let noted: String = match subject {
            Subject::Topic(topic) => {
                let key = self.keys.versions();
                let args = [keys::topic(topic), millis(ttl), Limits::TOPICS_MAX.to_string()].into_iter();
                let args = args.chain(LISTS.iter().map(keys::topic)).map(Value::from);
                self.script(&self.scripts.note_change, &[&key], args.collect())
                    .await?
            }
            Subject::Own(session, uri) => {
                let key = self.keys.session(session);
                let args = vec![uri.into(), record::encode_subscription(uri)?.into()];
                self.script(&self.scripts.note_change_own, &[&key], args).await?
            }
        };
        match noted.as_str() {
            "carried" => Ok(Noted::Carried),
            "noted" => Ok(Noted::Noted),
            "unwanted" => Ok(Noted::Unwanted),
            _ => Err(unexpected("note_change", &[noted])),
        }
    }

    async fn versions(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError> {
        if topics.is_empty() {
            return Ok(vec![]);
        }
        let key = self.keys.versions();
        let members = topics.iter().map(|topic| keys::topic(topic).into());
        // Of all that have made room.
        let members = members.chain([Value::from("")]);
        let args = [key.as_str().into()].into_iter().chain(members).collect();
        let scores: Vec<Option<f64>> = self.ask("versions", "ZMSCORE", &key, args).await?;
        let mut versions = scores.into_iter().map(|score| score.map(version));
        let oldest = versions.next_back().flatten().unwrap_or_default();
        let versions = versions.zip(topics);
        Ok(versions
            .map(|(version, topic)| version.unwrap_or(if LISTS.contains(topic) { 0 } else { oldest }))
            .collect())
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

    async fn tell(
        &self,
        session: &SessionId,
        stream: &StreamId,
        news: &[TopicNews<'_>],
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Told, StoreError> {
        let [streams, in_all] = session_most();
        let args = [
            stream.as_str().to_owned(),
            millis(ttl),
            by.as_str().to_owned(),
            Limits::STREAM_EVENTS_MAX.to_string(),
            Limits::STREAM_BYTES_MAX.to_string(),
            streams,
            in_all,
            self.keys.node_start(),
            NodeMessage::stream(session, stream).encode(),
        ];
        let mut args: Vec<Value> = args.map(Value::from).into();
        for news in news {
            let (field, version, uri, data) = match *news {
                TopicNews::First(topic, version) => (keys::told(topic), version, uri_of(topic), ""),
                TopicNews::Topic(topic, version, data) => (keys::told(topic), version, uri_of(topic), data),
                TopicNews::Own(uri, version, data) => (keys::told_own(uri), version, Some(uri), data),
            };
            let wanted = uri.map(record::encode_subscription).transpose()?;
            args.extend([
                field.into(),
                version.to_string().into(),
                wanted.unwrap_or_default().into(),
                data.into(),
            ]);
        }
        let keys = self.log_keys(session, stream);
        let answer: Vec<String> = self.script(&self.scripts.tell, &keys.each(), args).await?;
        told(news, &answer).ok_or_else(|| unexpected("tell", &answer))
    }
}

impl RedisStore {
    /// The keys of the scripts that `log.lua` stands in front of.
    pub(super) fn log_keys(&self, session: &SessionId, stream: &StreamId) -> KeySet<4> {
        let keys = &self.keys;
        KeySet([
            keys.session(session),
            keys.calls(session),
            keys.events_start(session),
            keys.events(session, stream.as_str()),
        ])
    }
}

/// Whether the first script that needs a stream makes it, as scripts call it.
fn kind(stream: &StreamId) -> &'static str {
    if stream.is_session_stream() {
        "make"
    } else {
        "call"
    }
}

/// The most streams of one session, and the most bytes in all of them.
pub(super) fn session_most() -> [String; 2] {
    [
        Limits::SESSION_STREAMS_MAX.to_string(),
        Limits::SESSION_BYTES_MAX.to_string(),
    ]
}

/// What the scripts that append answer.
pub(super) fn appended(script: &str, answer: &[String]) -> Result<Appended, StoreError> {
    match answer {
        [word, number, holder] if word == "at" => Ok(Appended::At {
            number: number.parse().map_err(|_error| unexpected(script, answer))?,
            holder: keys::parse_holder(holder),
        }),
        [word] if word == "gone" => Ok(Appended::Gone),
        _ => Err(unexpected(script, answer)),
    }
}

/// Who carries the stream; then by turns which of the news was appended, from 1, and the event's number.
fn told(news: &[TopicNews<'_>], answer: &[String]) -> Option<Told> {
    let (holder, appended) = answer.split_first()?;
    let event = |[which, number]: &[String; 2]| {
        let news = news.get(which.parse::<usize>().ok()?.checked_sub(1)?)?;
        let data = match news {
            TopicNews::First(..) => return None,
            TopicNews::Topic(_, _, data) | TopicNews::Own(_, _, data) => (*data).to_owned(),
        };
        let number = number.parse().ok()?;
        Some(Event { number, data })
    };
    Some(Told {
        events: appended
            .as_chunks::<2>()
            .0
            .iter()
            .map(event)
            .collect::<Option<_>>()?,
        holder: keys::parse_holder(holder),
    })
}

fn read_page(answer: Vec<String>) -> Option<Read> {
    let mut answer = answer.into_iter();
    let mut number = || answer.next()?.parse::<u64>().ok();
    let (first, head, done, from) = (number()?, number()?, number()?, number()?);
    let holder = keys::parse_holder(&answer.next()?);
    let delivered = answer.next()?.parse().ok()?;
    let events = (from..).zip(answer);
    Some(Read::Events {
        events: events.map(|(number, data)| Event { number, data }).collect(),
        first,
        head,
        done: done == 1,
        holder,
        delivered,
    })
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
