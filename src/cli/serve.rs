//! `mcp-server serve`: runs a node until it is told to stop.

use super::{CliError, Exit};
use crate::cli::open_store::open_store;
use crate::config::Settings;

/// Runs a node with the built-in handler.
///
/// # Errors
/// When the store cannot be opened, the address cannot be bound, or a task of the node fails.
pub async fn run(settings: Settings) -> Result<Exit, CliError> {
    // The node is run here when its branch is merged.
    open_store(&settings).await?.close().await;
    Ok(Exit::Ok)
}
