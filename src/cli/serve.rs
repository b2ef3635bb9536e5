//! `mcp-server serve`: runs a node until a signal stops it.

use std::error::Error;
use std::pin::pin;

use sd_notify::NotifyState;

use super::{Exit, Program, print};
use crate::app::signal::told_to_stop;
use crate::app::{App, Builder, Running, files};
use crate::causes::causes;
use crate::config::Loaded;
use crate::session::NodeId;

/// What `initialize` looks like: the shortest request that shows a server at work.
const TRY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}"#;

/// Runs a node that is what `make` makes of its builder.
///
/// # Errors
/// When the program cannot make it, the store cannot be opened, the address cannot be bound, or a task of the
/// node fails.
pub(crate) async fn run<F>(loaded: Loaded, make: impl FnOnce(Builder) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = Result<Builder, Box<dyn Error + Send + Sync>>>,
{
    if let Some(warning) = loaded.foreign_variables() {
        tracing::warn!("{warning}");
    }
    let settings = loaded.settings;
    let guarded = settings.knows_credentials();
    if let Some(warning) = files::too_low(&settings, files::raise_limit()) {
        tracing::warn!("{warning}");
    }
    let mut told = pin!(told_to_stop());
    let start = async {
        let builder = make(App::builder().settings(settings)).await;
        let builder = builder.map_err(anyhow::Error::from_boxed)?;
        Ok::<_, anyhow::Error>(builder.spawn().await?)
    };
    let node = tokio::select! {
        node = start => node?,
        // A node that still waits for its store has nothing to finish.
        _stop = &mut told => return Ok(Exit::Ok),
    };
    print::greeting(greeting(&node, guarded));
    let id = node.node().clone();
    tell_systemd(&id, NotifyState::Ready);
    let told = async {
        let stop = told.await;
        tell_systemd(&id, NotifyState::Stopping);
        stop
    };
    node.run_until(told, told_to_stop).await?;
    Ok(Exit::Ok)
}

/// Tells systemd how far the node is, if it runs as a unit of `Type=notify`.
fn tell_systemd(node: &NodeId, state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(node = %node, error = %causes(&error), "could not notify systemd");
    }
}

/// Where the node listens, which store it uses, how to try it, and how to add Redis.
fn greeting(node: &Running, guarded: bool) -> String {
    let (option, url) = match node.address().strip_prefix("unix:") {
        Some(path) => (
            format!("--unix-socket {} ", quoted(path)),
            "http://localhost/mcp".to_owned(),
        ),
        None => (String::new(), format!("{}/mcp", from_here(node.address()))),
    };
    let token = if guarded {
        "-H 'Authorization: Bearer <token>' "
    } else {
        ""
    };
    let store = match node.handle().store_kind() {
        "memory" => "memory: they end with this process, and no other node sees them".to_owned(),
        kind => format!("{kind}: every node on it serves every client"),
    };
    let more = match node.handle().store_kind() {
        "memory" => "\n  more nodes   start each with REDIS_URL=redis://127.0.0.1:6379 and a PORT of its own",
        _ => "",
    };
    let health = match node.probe_address() {
        Some(address) => format!("\n  health at    {address}"),
        None => String::new(),
    };
    let Program { name, version, .. } = Program::this();
    format!(
        "{name} {version}, {node_id}\n  listens on   {address}{health}\n  sessions in  {store}{more}\n  try it       \
         curl -i {option}{url} {token}-H 'Content-Type: application/json' -d '{TRY}'",
        node_id = node.node(),
        address = node.address(),
    )
}

/// An address that listens everywhere, as this machine reaches it.
fn from_here(address: &str) -> String {
    address
        .replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}

/// A path that the shell takes for one word.
fn quoted(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    if path.bytes().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_tried_here() {
        assert_eq!(from_here("http://0.0.0.0:3000"), "http://127.0.0.1:3000");
        assert_eq!(from_here("http://[::]:3000"), "http://[::1]:3000");
        assert_eq!(from_here("http://10.0.0.0:3000"), "http://10.0.0.0:3000");
    }

    #[test]
    fn odd_paths_stay_one_word() {
        assert_eq!(quoted("/run/mcp.sock"), "/run/mcp.sock");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
