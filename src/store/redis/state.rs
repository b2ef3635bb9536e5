//! Handlers' state in Redis: fields of a session's hash, or of a notebook's or a task's own. And the secrets
//! that nodes share.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use fred::types::Value;

use super::usage::most;
use super::{RedisStore, keys, millis};
use crate::session::Principal;
use crate::session::State;
use crate::session::secrets::{NewSecret, Secrets};
use crate::session::state::{Expected, StateError, StateRoom, StateScope, StateStore, Swapped};
use crate::store::StoreError;

impl RedisStore {
    /// The key of a scope, and what the fields of its state start with.
    fn scope(&self, scope: &StateScope) -> (String, &'static str) {
        match scope {
            StateScope::Session(id) => (self.keys.session(id), keys::STATE),
            StateScope::Notebook(handle) => (self.keys.notebook(handle), keys::NOTE),
            StateScope::Task(id) => (self.keys.task(id), keys::TASK),
        }
    }
}

#[async_trait]
impl StateStore for RedisStore {
    async fn state_get(&self, scope: &StateScope, key: &str) -> Result<Option<String>, StateError> {
        let (hash, start) = self.scope(scope);
        let args = vec![format!("{start}{key}").into()];
        let mut answer: Vec<Option<String>> = self.script(&self.scripts.state_get, &[&hash], args).await?;
        match answer.pop() {
            None => Err(StateError::Gone),
            // `here` alone would be no answer; with it stands the value.
            Some(value) => Ok(value.filter(|_| !answer.is_empty())),
        }
    }

    async fn state_entries(&self, scope: &StateScope) -> Result<Vec<(String, String)>, StateError> {
        let (hash, start) = self.scope(scope);
        let answer: Vec<Option<String>> = self.script(&self.scripts.state_entries, &[&hash], vec![]).await?;
        if answer.is_empty() {
            return Err(StateError::Gone);
        }
        let mut answer = answer.into_iter().skip(1);
        let mut entries = Vec::new();
        while let (Some(Some(field)), Some(Some(value))) = (answer.next(), answer.next()) {
            if let Some(key) = field.strip_prefix(start) {
                entries.push((key.to_owned(), value));
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    async fn state_swap(
        &self,
        scope: &StateScope,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        let (hash, start) = self.scope(scope);
        let (expectation, text) = match expected {
            Expected::Anything => ("any", ""),
            Expected::Absent => ("absent", ""),
            Expected::Text(text) => ("text", text),
        };
        let args = vec![
            format!("{start}{key}").into(),
            key.len().to_string().into(),
            expectation.into(),
            text.into(),
            if value.is_some() { "set" } else { "remove" }.into(),
            value.unwrap_or_default().into(),
            State::KEYS_MAX.to_string().into(),
            State::BYTES_MAX.to_string().into(),
        ];
        let answer: Vec<Option<String>> = self.script(&self.scripts.state_swap, &[&hash], args).await?;
        let mut answer = answer.into_iter();
        let word = answer.next().flatten().unwrap_or_default();
        let other = answer.next().flatten();
        match word.as_str() {
            "done" => Ok(Swapped::Done(other)),
            "conflict" => Ok(Swapped::Conflict(other)),
            "keys" => Err(StateError::TooManyKeys),
            "bytes" => Err(StateError::TooLarge),
            "gone" => Err(StateError::Gone),
            _ => Err(StoreError::Corrupt(format!("the script `state_swap` answered {word:?}")).into()),
        }
    }

    async fn state_open(
        &self,
        scope: &StateScope,
        owner: &Principal,
        ttl: Duration,
        room: StateRoom<'_>,
    ) -> Result<(), StateError> {
        let (key, life) = (self.scope(scope).0, millis(ttl));
        let (set, name, full) = match scope {
            StateScope::Session(_) => return Err(StateError::Contended),
            StateScope::Notebook(name) => (
                self.keys.peer_notebooks(room.peer),
                name,
                StateError::TooManyNotebooks,
            ),
            StateScope::Task(name) => (self.keys.peer_tasks(room.peer), name, StateError::TooManyTasks),
        };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = now_ms.as_millis().to_string();
        let mut args = vec![&*life, "v", "1", "createdAt", &now_ms];
        args.extend(["principal", owner.as_str(), keys::PEER, room.peer]);
        // A task names no `ttl`, by which scripts would renew its life.
        if let StateScope::Notebook(_) = scope {
            args.extend(["ttl", &life]);
        }
        let args = args.into_iter().map(Value::from).collect();
        let (keys, set, counted) = (
            [&*key],
            [set],
            vec![(&**name).into(), millis(ttl).into(), most(room.peer_max)],
        );
        // At the same time: one for which there was no room is taken away again.
        let (opened, entered) = tokio::join!(
            self.script::<u64>(&self.scripts.state_open, &keys, args),
            self.enter(&set, counted),
        );
        match (opened, entered) {
            (Ok(1), Ok(0)) => Ok(()),
            (Ok(1), entered) => {
                let remove = vec![key.as_str().into()];
                self.ask::<u64>("state_open_undo", "DEL", &key, remove).await?;
                Err(entered.map_or_else(StateError::from, |_| full))
            }
            // The name is another's, which is counted under it. It must not be handed to a second owner.
            (Ok(_), _) => Err(StateError::Contended),
            (Err(error), entered) => {
                // What was not made must not be counted for the whole of its life.
                if let Ok(0) = entered {
                    self.leave(&set, name).await;
                }
                Err(error.into())
            }
        }
    }

    async fn state_owner(
        &self,
        scope: &StateScope,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError> {
        let key = self.scope(scope).0;
        let args = vec![millis(ttl).into(), asker.as_str().into()];
        let found: Vec<String> = self.script(&self.scripts.state_owner, &[&key], args).await?;
        let [owner, peer] = found.as_slice() else {
            return Ok(None);
        };
        if let StateScope::Notebook(handle) = scope
            && !peer.is_empty()
        {
            self.stay(&[self.keys.peer_notebooks(peer)], handle, ttl).await;
        }
        Ok(Some(Principal(owner.as_str().into())))
    }

    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StateError> {
        let (key, now_ms) = (self.keys.secret(), fresh.now_ms.to_string());
        let (rotate_after, ttl) = (millis(rotate_after), millis(ttl));
        let args = [fresh.name.as_str(), &fresh.text, &now_ms, &rotate_after, &ttl];
        let args = args.map(Into::into).into();
        let answer: Vec<String> = self.script(&self.scripts.secrets, &[&key], args).await?;
        let mut answer = answer.into_iter();
        let newest = answer.next();
        let newest = newest.ok_or_else(|| StoreError::Corrupt("no newest secret".into()))?;
        let mut all = BTreeMap::new();
        while let (Some(name), Some(text)) = (answer.next(), answer.next()) {
            all.insert(name, text);
        }
        Ok(Secrets { newest, all })
    }
}
