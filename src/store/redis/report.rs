//! What Redis says of itself, as far as it lets us ask.

use fred::error::Error as FredError;
use fred::types::Value;
use futures::future::join_all;

use super::link::{Link, on_slot_of};
use super::{RedisStore, keys};

/// How many prefixes of other nodes are told of.
const OTHER_PREFIXES_MAX: usize = 16;

impl RedisStore {
    /// The prefixes under which others listen on this Redis. In a cluster each server knows its own listeners
    /// only.
    pub(super) async fn other_prefixes(&self) -> Result<Vec<String>, FredError> {
        let servers = self.link.masters().into_iter();
        let glob = keys::any_nodes_glob();
        let ask = |server| {
            let args = vec!["CHANNELS".into(), glob.into()];
            self.link.send_to(server, "PUBSUB", on_slot_of(""), args)
        };
        let mut channels = Vec::new();
        for answer in join_all(servers.map(ask)).await {
            match answer {
                Ok(answer) => channels.extend(answer.convert::<Vec<String>>()?),
                Err(error) if refused(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut prefixes = self.keys.other_prefixes(&channels);
        prefixes.sort();
        prefixes.dedup();
        prefixes.truncate(OTHER_PREFIXES_MAX);
        Ok(prefixes)
    }

    pub(super) async fn eviction_policy(&self) -> Result<Option<String>, FredError> {
        match info(&self.link, "memory", "maxmemory_policy").await {
            // Some services answer INFO without it, or not at all.
            Ok(None) => {}
            Err(error) if refused(&error) => {}
            answer => return answer,
        }
        let args = vec!["GET".into(), "maxmemory-policy".into()];
        match self.link.send("CONFIG", on_slot_of(""), args).await {
            Ok(Value::Map(map)) => Ok(map
                .inner()
                .into_values()
                .next()
                .and_then(|value| value.as_string())),
            Ok(_) => Ok(None),
            Err(error) if refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The version, by INFO or else by HELLO, which even users without `@dangerous` may ask.
pub(super) async fn version(link: &Link) -> Result<Option<String>, FredError> {
    match info(link, "server", "redis_version").await {
        Err(error) if refused(&error) => {}
        answer => return answer,
    }
    let hello = link.send("HELLO", on_slot_of(""), vec![]).await;
    match hello {
        Ok(Value::Map(map)) => {
            let map = map.inner();
            let version = map.iter().find(|(key, _)| key.as_str() == Some("version"));
            Ok(version.and_then(|(_, value)| value.as_string()))
        }
        Ok(_) => Ok(None),
        Err(error) if refused(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One line of a section of INFO.
async fn info(link: &Link, section: &str, name: &str) -> Result<Option<String>, FredError> {
    let answer = link.send("INFO", on_slot_of(""), vec![section.into()]).await?;
    let text: String = answer.convert()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim().to_owned()))
}

/// Whether Redis answered that this user may not, or that the command is unknown.
fn refused(error: &FredError) -> bool {
    error.details().starts_with("NOPERM") || error.details().contains("unknown command")
}
