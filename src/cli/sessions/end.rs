//! `mcp-server sessions end`: ends sessions on all nodes.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::ArgGroup;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::NO_SESSION;
use crate::audit::{Act, Actor, Audit};
use crate::cli::{Exit, unix_ms};
use crate::cluster::{Membership, SessionError, Sessions};
use crate::config::Settings;
use crate::session::{NodeId, Peer, Principal, SessionId};
use crate::store::redis::RedisStore;
use crate::store::{Limits, NodeStore as _, SessionStore as _, Store};
use crate::supervisor::Supervisor;

/// How long the tasks of this process may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(1);
/// How many sessions are ended at once. Each may wait a moment for nodes that do not answer.
const ENDS_AT_ONCE: usize = 16;

/// Which sessions to end, and how to answer.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all", "principal"]).required(true)))]
pub(crate) struct EndArguments {
    /// The ids of the sessions
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// End all sessions
    #[arg(long)]
    all: bool,
    /// End all sessions of this principal; "" for those without one
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct EndedSessions {
    ended: Vec<String>,
    /// Those that were not there.
    unknown: Vec<String>,
}

/// Ends them, and names those that were there and those that were not.
///
/// # Errors
/// When none was there, or the store does not answer.
pub(super) async fn answer(
    arguments: &EndArguments,
    settings: &Settings,
    store: &Arc<RedisStore>,
) -> anyhow::Result<(String, Exit)> {
    let node = NodeId::generate(unix_ms());
    // What cannot be noted is not done.
    let audit = Audit::of_command(&settings.audit, &node)?;
    let supervisor = Supervisor::new(node.as_str());
    let membership = Arc::new(Membership::outside(node.clone()));
    let shared: Arc<dyn Store> = Arc::<RedisStore>::clone(store);
    // For a moment this process is a node among the others: it sends messages to those that keep a copy, and
    // hears them acknowledge.
    let messages = store.listen(&node).await?;
    let sessions = Sessions::new(shared, membership, settings, supervisor.clone(), audit.clone());
    supervisor.spawn_vital("messages", sessions.clone().listen(messages, Arc::new(())));
    let done = match arguments.ids.is_empty() {
        true => end_all(arguments, store, &sessions).await,
        false => end_each(&arguments.ids, &sessions).await,
    };
    supervisor.stop(STOP_WITHIN).await;
    audit.flush();
    told(arguments, &done?)
}

/// Ends a session, which is noted in the audit log.
async fn end_one(id: &SessionId, sessions: &Sessions) -> Result<(), SessionError> {
    sessions.end(id).await?;
    let tag = id.tag();
    let actor = Actor {
        session: Some(&tag),
        ..Actor::default()
    };
    let command = "sessions end";
    sessions.audit().note(&actor, &Act::Admin { command });
    Ok(())
}

async fn end_each(ids: &[String], sessions: &Sessions) -> anyhow::Result<EndedSessions> {
    let ends = ids.iter().map(|id| async move {
        let ended = match SessionId::parse(id) {
            Some(id) => end_one(&id, sessions).await,
            None => Err(SessionError::NotFound),
        };
        match ended {
            Ok(()) => Ok((id.clone(), true)),
            Err(SessionError::Store(error)) => Err(error),
            Err(_not_there) => Ok((id.clone(), false)),
        }
    });
    let ended: Vec<_> = stream::iter(ends).buffered(ENDS_AT_ONCE).try_collect().await?;
    let mut done = EndedSessions::default();
    for (id, was_there) in ended {
        match was_there {
            true => done.ended.push(id),
            false => done.unknown.push(id),
        }
    }
    Ok(done)
}

/// Ends those that are listed, and then those that there was no room to list.
async fn end_all(
    arguments: &EndArguments,
    store: &RedisStore,
    sessions: &Sessions,
) -> anyhow::Result<EndedSessions> {
    let mut done = EndedSessions::default();
    let named = arguments.principal.as_deref().filter(|name| !name.is_empty());
    if let Some(name) = named {
        end_counted(name, store, sessions, &mut done).await?;
    }
    loop {
        let listed = store.list(Limits::SESSION_LIST_MAX).await?;
        let listed_all = listed.len() < Limits::SESSION_LIST_MAX;
        let wanted = listed.into_iter().filter(|(_, record)| {
            let named = arguments.principal.as_ref();
            named.is_none_or(|name| record.principal.as_str() == name)
        });
        let ids: Vec<_> = wanted.map(|(id, _)| id.as_str().to_owned()).collect();
        let round = end_each(&ids, sessions).await?;
        let progress = !round.ended.is_empty();
        done.ended.extend(round.ended);
        // Those of a principal were found by its count already; these are some that were not in it.
        if listed_all || (named.is_some() && !progress) {
            return Ok(done);
        }
        if !progress {
            bail!(
                "ended {} sessions; there are more than {} of others, and no more are read",
                done.ended.len(),
                Limits::SESSION_LIST_MAX
            );
        }
    }
}

/// Ends the sessions that are counted for a principal, however many there are of others.
async fn end_counted(
    name: &str,
    store: &RedisStore,
    sessions: &Sessions,
    done: &mut EndedSessions,
) -> anyhow::Result<()> {
    let peer = Peer::Principal(Principal(name.into())).key();
    loop {
        let some = store.of_peer(&peer).await?;
        let ids: Vec<_> = some.iter().map(|(id, _)| id.as_str().to_owned()).collect();
        let round = end_each(&ids, sessions).await?;
        if round.ended.is_empty() {
            return Ok(());
        }
        done.ended.extend(round.ended);
    }
}

fn told(arguments: &EndArguments, done: &EndedSessions) -> anyhow::Result<(String, Exit)> {
    let EndedSessions { ended, unknown } = done;
    let exit = match unknown.is_empty() {
        true => Exit::Ok,
        false => Exit::Failure,
    };
    if arguments.json {
        let text = json!({ "ended": ended, "unknown": unknown });
        return Ok((format!("{text:#}"), exit));
    }
    if ended.is_empty() && !unknown.is_empty() {
        bail!(NO_SESSION);
    }
    let mut text = String::new();
    for (word, ids) in [("ended", ended), ("unknown", unknown)] {
        for id in ids {
            // Writing to a String cannot fail.
            let _written = writeln!(text, "{word} {id}");
        }
    }
    if text.is_empty() {
        "no sessions".clone_into(&mut text);
    }
    Ok((text, exit))
}
