//! The commands that read the settings of a node, and run it or ask after it.

use std::error::Error;

use clap::Subcommand;

use super::check::{self, CheckArguments};
use super::health::{self, HealthArguments};
use super::sessions::{self, SessionsCommand};
use super::{Exit, serve};
use crate::app::Builder;
use crate::config::{Loaded, LogSettings};

/// A command about a node, or the store that nodes share.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Serve MCP until a signal to stop (the default)
    Serve,
    /// Read the settings, try the address and the store, and report what is wrong
    Check(CheckArguments),
    /// Ask a running node whether it is well; for container health checks
    Health(HealthArguments),
    /// List, show and end sessions
    #[command(subcommand)]
    Sessions(SessionsCommand),
}

impl NodeCommand {
    /// Does what was asked for. A node is what `make` makes of its builder.
    ///
    /// # Errors
    /// Why it could not be done; [`exit_of`](super::exit::exit_of) knows the exit code.
    pub(super) async fn run<F>(self, loaded: Loaded, make: impl FnOnce(Builder) -> F) -> anyhow::Result<Exit>
    where
        F: Future<Output = Result<Builder, Box<dyn Error + Send + Sync>>>,
    {
        match self {
            Self::Serve => serve::run(loaded, make).await,
            Self::Check(arguments) => check::run(&arguments, &loaded).await,
            Self::Health(arguments) => health::run(&arguments, &loaded.settings).await,
            Self::Sessions(command) => sessions::run(&command, &loaded.settings).await,
        }
    }

    /// How to log: a server as the settings say; a command logs only failures, so that its answer stands
    /// alone.
    #[must_use]
    pub(super) fn log(&self, settings: &LogSettings) -> LogSettings {
        match self {
            Self::Serve => settings.clone(),
            _ => LogSettings {
                level: "warn".into(),
                format: settings.format,
            },
        }
    }

    /// Whether it answers in JSON.
    pub(super) const fn in_json(&self) -> bool {
        match self {
            Self::Serve => false,
            Self::Check(arguments) => arguments.json,
            Self::Health(arguments) => arguments.json,
            Self::Sessions(command) => command.in_json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    #[test]
    fn only_the_server_logs_what_goes_well() {
        let settings = LogSettings {
            level: "info".into(),
            format: LogFormat::Text,
        };
        assert_eq!(NodeCommand::Serve.log(&settings).level, "info");
        let asks = NodeCommand::Health(HealthArguments::default());
        assert_eq!(asks.log(&settings).level, "warn");
    }
}
