//! The Lua scripts: one file each, sent by their hash, and whole when Redis does not know the hash (any longer).

use fred::error::Error as FredError;
use fred::types::Value;

use super::link::{Link, on_slot_of};

/// A script about event logs: what such scripts share stands in front of it.
macro_rules! on_log {
    ($file:literal) => {
        concat!(include_str!("log.lua"), include_str!($file))
    };
}

/// A script about a session's record: what such scripts share stands in front of it.
macro_rules! on_record {
    ($file:literal) => {
        concat!(include_str!("record.lua"), include_str!($file))
    };
}

/// A script, and the hash by which Redis knows it.
#[derive(Debug)]
pub(super) struct Script {
    source: &'static str,
    sha: String,
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) load: Script,
    pub(super) release: Script,
    pub(super) touch: Script,
    pub(super) change: Script,
    pub(super) end: Script,
    pub(super) state_read: Script,
    pub(super) state_swap: Script,
    pub(super) owner: Script,
    pub(super) lease: Script,
    pub(super) lease_end: Script,
    pub(super) enlist: Script,
    pub(super) living: Script,
    pub(super) secrets: Script,
    pub(super) enter: Script,
    pub(super) stay: Script,
    pub(super) leave: Script,
    pub(super) session_create: Script,
    pub(super) append: Script,
    pub(super) call_begin: Script,
    pub(super) call_end: Script,
    pub(super) attach: Script,
    pub(super) detach: Script,
    pub(super) stream_read: Script,
    pub(super) delivered: Script,
    pub(super) answer: Script,
    pub(super) answers_taken: Script,
    pub(super) inbox: Script,
    pub(super) cancel: Script,
    pub(super) cancelled: Script,
    pub(super) introduce: Script,
    pub(super) claim: Script,
    pub(super) enroll: Script,
    pub(super) dead: Script,
    pub(super) forget: Script,
    pub(super) retire: Script,
    pub(super) note_change: Script,
    pub(super) note_own_change: Script,
    pub(super) note_told: Script,
}

impl Scripts {
    /// Loads every script, which also shows that this user may run them.
    pub(super) async fn load(link: &Link) -> Result<Self, FredError> {
        Ok(Self {
            create: Script::load(link, include_str!("create.lua")).await?,
            load: Script::load(link, on_record!("load.lua")).await?,
            release: Script::load(link, include_str!("release.lua")).await?,
            touch: Script::load(link, include_str!("touch.lua")).await?,
            change: Script::load(link, on_record!("change.lua")).await?,
            end: Script::load(link, on_log!("end.lua")).await?,
            state_read: Script::load(link, include_str!("state_read.lua")).await?,
            state_swap: Script::load(link, include_str!("state_swap.lua")).await?,
            owner: Script::load(link, include_str!("owner.lua")).await?,
            lease: Script::load(link, include_str!("lease.lua")).await?,
            lease_end: Script::load(link, include_str!("lease_end.lua")).await?,
            enlist: Script::load(link, include_str!("enlist.lua")).await?,
            living: Script::load(link, include_str!("living.lua")).await?,
            secrets: Script::load(link, include_str!("secrets.lua")).await?,
            enter: Script::load(link, include_str!("enter.lua")).await?,
            stay: Script::load(link, include_str!("stay.lua")).await?,
            leave: Script::load(link, include_str!("leave.lua")).await?,
            session_create: Script::load(link, on_log!("session_create.lua")).await?,
            append: Script::load(link, on_log!("append.lua")).await?,
            call_begin: Script::load(link, on_log!("call_begin.lua")).await?,
            call_end: Script::load(link, on_log!("call_end.lua")).await?,
            attach: Script::load(link, on_log!("attach.lua")).await?,
            detach: Script::load(link, on_log!("detach.lua")).await?,
            stream_read: Script::load(link, include_str!("stream_read.lua")).await?,
            delivered: Script::load(link, include_str!("delivered.lua")).await?,
            answer: Script::load(link, include_str!("answer.lua")).await?,
            answers_taken: Script::load(link, include_str!("answers_taken.lua")).await?,
            inbox: Script::load(link, on_log!("inbox.lua")).await?,
            cancel: Script::load(link, include_str!("cancel.lua")).await?,
            cancelled: Script::load(link, include_str!("cancelled.lua")).await?,
            introduce: Script::load(link, on_log!("introduce.lua")).await?,
            claim: Script::load(link, include_str!("claim.lua")).await?,
            enroll: Script::load(link, include_str!("enroll.lua")).await?,
            dead: Script::load(link, include_str!("dead.lua")).await?,
            forget: Script::load(link, include_str!("forget.lua")).await?,
            retire: Script::load(link, include_str!("retire.lua")).await?,
            note_change: Script::load(link, include_str!("note_change.lua")).await?,
            note_own_change: Script::load(link, include_str!("note_own_change.lua")).await?,
            note_told: Script::load(link, include_str!("note_told.lua")).await?,
        })
    }
}

impl Script {
    async fn load(link: &Link, source: &'static str) -> Result<Self, FredError> {
        let hash = on_slot_of("");
        let sha = link
            .send("SCRIPT", hash, vec!["LOAD".into(), source.into()])
            .await?;
        Ok(Self {
            source,
            sha: sha.convert()?,
        })
    }

    /// Runs the script. In a cluster, all `keys` must be in the slot of the first.
    pub(super) async fn run(&self, link: &Link, keys: &[&str], args: Vec<Value>) -> Result<Value, FredError> {
        let hash = on_slot_of(keys.first().copied().unwrap_or_default());
        let rest: Vec<Value> = std::iter::once(keys.len().to_string().into())
            .chain(keys.iter().map(|key| Value::from(*key)))
            .chain(args)
            .collect();
        let call = |text: &str| std::iter::once(Value::from(text)).chain(rest.clone()).collect();
        match link.send("EVALSHA", hash.clone(), call(&self.sha)).await {
            // Redis was restarted, or another one took over, or this cluster node never saw the script.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                link.send("EVAL", hash, call(self.source)).await
            }
            answer => answer,
        }
    }
}
