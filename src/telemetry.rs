//! Logs go to standard error; metrics are in [`metrics`].

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

pub mod metrics;

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is not a filter.
    #[error("log.level is not a tracing filter")]
    Filter(#[from] ParseError),
    /// Somebody else writes this process's logs already.
    #[error("logs are set up already in this process")]
    Taken(#[from] TryInitError),
}

/// Sends this process's logs to standard error, as text on a terminal and as JSON otherwise, or as set. Nothing is
/// buffered, so nothing is lost when the process ends.
///
/// # Errors
/// As [`TelemetryError`] says.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(quieted(&settings.level))?;
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let text = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        builder.with_ansi(terminal).finish().try_init()?;
    } else {
        builder.json().flatten_event(true).finish().try_init()?;
    }
    Ok(())
}

/// The filter with rmcp held at warnings, unless it speaks of rmcp itself: rmcp logs every serve loop at `info`, with
/// the client's details, and this server runs one for each request.
fn quieted(filter: &str) -> String {
    let directives = || filter.split(',').map(str::trim);
    let names_rmcp = directives().any(|directive| directive.starts_with("rmcp"));
    // Only what goes for all targets reaches rmcp, and what is below warnings already must not be raised.
    let general = directives()
        .filter_map(|directive| directive.parse::<LevelFilter>().ok())
        .max();
    match general {
        Some(level) if level > LevelFilter::WARN && !names_rmcp => format!("{filter},rmcp=warn"),
        _ => filter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rmcp_is_held_at_warnings_unless_the_filter_says_otherwise() {
        assert_eq!(quieted("info"), "info,rmcp=warn");
        assert_eq!(quieted("debug,anynode=trace"), "debug,anynode=trace,rmcp=warn");
        for left_alone in ["warn", "error", "off", "info,rmcp=debug", "anynode=debug"] {
            assert_eq!(quieted(left_alone), left_alone);
        }
    }
}
