//! Handlers' state in Redis: fields of a session's hash, or of a notebook's or a task's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use fred::types::Value;

use super::crowd::most;
use super::{RedisStore, keys, millis, on_slot_of};
use crate::session::Principal;
use crate::session::notebooks::NotebookStore;
use crate::session::state::{
    Expected, Home, STATE_BYTES_MAX, STATE_KEYS_MAX, StateError, StateStore, Swapped,
};
use crate::session::tasks::TaskStore;
use crate::store::StoreError;

/// A hash to be made, of which a peer may have so many.
struct Counted<'a> {
    /// What making it, counting it, and taking it away again are called.
    operations: [&'static str; 3],
    key: String,
    /// Where those of the peer are counted, and as what.
    set: String,
    member: &'a str,
    most: usize,
    /// The error when there is no room for one more.
    full: StateError,
}

impl RedisStore {
    /// Makes a hash that nobody has, unless its peer has too many.
    async fn open_counted(
        &self,
        it: Counted<'_>,
        ttl: Duration,
        fields: &[(&str, &str)],
    ) -> Result<(), StateError> {
        let [open, enter, remove] = it.operations;
        let set = [it.set];
        let args = vec![it.member.into(), millis(ttl).into(), most(it.most)];
        // At the same time: one for which there was no room is taken away again.
        let (opened, entered) = tokio::join!(
            self.open_home(open, &it.key, ttl, fields),
            self.measured(enter, self.enter(&set, args)),
        );
        match (opened, entered) {
            (Ok(()), Ok(0)) => Ok(()),
            (Ok(()), entered) => {
                self.remove(remove, &it.key).await?;
                Err(entered.map_or_else(StateError::from, |_| it.full))
            }
            // The name is another's, which is counted under it.
            (Err(StateError::Contended), _) => Err(StateError::Contended),
            (Err(error), entered) => {
                // What was not made must not be counted for the whole of its life.
                if let Ok(0) = entered {
                    self.leave(&set, it.member).await;
                }
                Err(error)
            }
        }
    }

    /// Makes a hash that nobody has, with a life and some fields.
    async fn open_home(
        &self,
        operation: &'static str,
        key: &str,
        ttl: Duration,
        fields: &[(&str, &str)],
    ) -> Result<(), StateError> {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis()
            .to_string();
        let mut args: Vec<Value> = vec![millis(ttl).into()];
        for (field, value) in [("v", "1"), ("createdAt", &now_ms)].iter().chain(fields) {
            args.extend([Value::from(*field), Value::from(*value)]);
        }
        let made: u64 = self.script(operation, &self.scripts.create, &[key], args).await?;
        // A handle is made up afresh each time; one that is taken must not be handed to a second owner.
        if made == 1 {
            Ok(())
        } else {
            Err(StateError::Contended)
        }
    }

    async fn remove(&self, operation: &'static str, key: &str) -> Result<(), StoreError> {
        let remove = self.link.send("DEL", on_slot_of(key), vec![key.into()]);
        self.measured(operation, remove).await.map(drop)
    }

    /// The key of a home, and what the fields of its state start with.
    fn home(&self, home: &Home) -> (String, &'static str) {
        match home {
            Home::Session(id) => (self.keys.session(id), keys::STATE),
            Home::Notebook(handle) => (self.keys.notebook(handle), keys::NOTE),
            Home::Task(id) => (self.keys.task(id), keys::TASK),
        }
    }

    async fn read_state(
        &self,
        operation: &'static str,
        key: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Option<String>>, StateError> {
        let answer: Vec<Option<String>> = self
            .script(operation, &self.scripts.state_read, &[key], args)
            .await?;
        if answer.is_empty() {
            return Err(StateError::Gone);
        }
        Ok(answer)
    }
}

#[async_trait]
impl StateStore for RedisStore {
    async fn state_get(&self, home: &Home, key: &str) -> Result<Option<String>, StateError> {
        let (hash, start) = self.home(home);
        let args = vec![format!("{start}{key}").into()];
        let mut answer = self.read_state("state_get", &hash, args).await?;
        Ok(answer.pop().filter(|_| !answer.is_empty()).flatten())
    }

    async fn state_entries(&self, home: &Home) -> Result<Vec<(String, String)>, StateError> {
        let (hash, start) = self.home(home);
        let mut answer = self
            .read_state("state_entries", &hash, vec![])
            .await?
            .into_iter()
            .skip(1);
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
        home: &Home,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        let (hash, start) = self.home(home);
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
            STATE_KEYS_MAX.to_string().into(),
            STATE_BYTES_MAX.to_string().into(),
        ];
        let answer: Vec<Option<String>> = self
            .script("state_swap", &self.scripts.state_swap, &[&hash], args)
            .await?;
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
}

#[async_trait]
impl NotebookStore for RedisStore {
    async fn notebook_open(
        &self,
        handle: &str,
        principal: &Principal,
        ttl: Duration,
        (peer, peer_max): (&str, usize),
    ) -> Result<(), StateError> {
        let life = millis(ttl);
        let fields = [
            ("principal", principal.as_str()),
            ("ttl", &life),
            (keys::PEER, peer),
        ];
        let counted = Counted {
            operations: ["notebook_open", "notebook_enter", "notebook_remove"],
            key: self.keys.notebook(handle),
            set: self.keys.peer_notebooks(peer),
            member: handle,
            most: peer_max,
            full: StateError::TooManyNotebooks,
        };
        self.open_counted(counted, ttl, &fields).await
    }

    async fn notebook_owner(
        &self,
        handle: &str,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError> {
        let key = self.keys.notebook(handle);
        let args = vec![millis(ttl).into(), asker.as_str().into()];
        let found: Vec<String> = self
            .script("notebook_owner", &self.scripts.owner, &[&key], args)
            .await?;
        let [owner, peer] = found.as_slice() else {
            return Ok(None);
        };
        if !peer.is_empty() {
            self.stay(&[self.keys.peer_notebooks(peer)], handle, ttl).await;
        }
        Ok(Some(Principal(owner.as_str().into())))
    }
}

#[async_trait]
impl TaskStore for RedisStore {
    async fn task_open(
        &self,
        id: &str,
        ttl: Duration,
        (peer, kept_max): (&str, usize),
    ) -> Result<(), StateError> {
        let counted = Counted {
            operations: ["task_open", "task_enter", "task_remove"],
            key: self.keys.task(id),
            set: self.keys.peer_tasks(peer),
            member: id,
            most: kept_max,
            full: StateError::TooManyTasks,
        };
        // It names no `ttl`, by which scripts would renew its life.
        self.open_counted(counted, ttl, &[]).await
    }
}
