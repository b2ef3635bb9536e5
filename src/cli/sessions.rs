//! `mcp-server sessions`: lists, shows and ends the sessions of all nodes.

use std::sync::Arc;

use anyhow::Context as _;

use super::exit::NoSharedStore;
use super::{Exit, print, unix_ms};
use crate::app::open;
use crate::config::Settings;
use crate::store::NodeStore as _;
use crate::store::redis::RedisStore;

mod end;
mod fields;
mod list;
mod show;

use end::EndArguments;
use list::ListArguments;
use show::ShowArguments;

const NO_SESSION: &str = "there is no such session: it has ended or expired, or never was";

/// What to do with sessions.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SessionsCommand {
    /// List sessions, the last used first. An id is a credential: with it, anybody can use the session
    List(ListArguments),
    /// Show everything that the store keeps of a session
    Show(ShowArguments),
    /// End sessions on all nodes, for good; their clients have to initialize again
    End(EndArguments),
}

impl SessionsCommand {
    /// Whether it answers in JSON.
    pub(super) const fn in_json(&self) -> bool {
        match self {
            Self::List(arguments) => arguments.json,
            Self::Show(arguments) => arguments.json,
            Self::End(arguments) => arguments.json,
        }
    }
}

/// Does it, and prints what came of it.
///
/// # Errors
/// When no store is shared or it does not answer, or there is no such session.
pub(crate) async fn run(command: &SessionsCommand, settings: &Settings) -> anyhow::Result<Exit> {
    if settings.redis_url.is_empty() {
        return Err(NoSharedStore.into());
    }
    let store = open::redis(settings).await?;
    let answer = answer(command, settings, &store).await;
    store.close().await;
    let (text, exit) = answer?;
    print::answer(&text).context("the answer could not be written")?;
    Ok(exit)
}

async fn answer(
    command: &SessionsCommand,
    settings: &Settings,
    store: &Arc<RedisStore>,
) -> anyhow::Result<(String, Exit)> {
    let ttl = settings.session.ttl;
    match command {
        SessionsCommand::List(arguments) => {
            let text = list::answer(arguments, store.as_ref(), ttl, unix_ms()).await?;
            Ok((text, Exit::Ok))
        }
        SessionsCommand::Show(arguments) => {
            let text = show::answer(arguments, store, ttl, unix_ms()).await?;
            Ok((text, Exit::Ok))
        }
        SessionsCommand::End(arguments) => end::answer(arguments, settings, store).await,
    }
}
