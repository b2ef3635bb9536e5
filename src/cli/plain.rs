//! The commands that need neither a store nor a node.

use anyhow::Context as _;

use super::settings::ConfigCommand;
use super::token::TokenArguments;
use super::version::VersionArguments;
use super::{Exit, completions, man, print, settings, token, version};
use crate::config::Sources;

/// A command that answers from the program and its settings alone.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PlainCommand {
    /// Print the default settings, or those in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version, and what was built into this program
    Version(VersionArguments),
    /// Make a bearer token for a principal, and print it with the line for the settings
    Token(TokenArguments),
    /// Print a script that completes this program's commands in a shell
    Completions(completions::CompletionsArguments),
    /// Print a manual page, for man(1)
    Man(man::ManArguments),
}

impl PlainCommand {
    /// Answers.
    ///
    /// # Errors
    /// When settings that are asked for are wrong, or the answer cannot be written.
    pub(super) fn run(&self, sources: Sources) -> anyhow::Result<Exit> {
        let answer = match self {
            Self::Config(command) => settings::answer(command, sources)?,
            Self::Version(arguments) => version::answer(arguments),
            Self::Token(arguments) => token::answer(arguments)?,
            Self::Completions(arguments) => completions::answer(arguments),
            Self::Man(arguments) => man::answer(arguments)?,
        };
        print::answer(&answer).context("the answer could not be written")?;
        Ok(Exit::Ok)
    }

    /// Whether it answers in JSON.
    pub(super) fn in_json(&self) -> bool {
        match self {
            Self::Config(ConfigCommand::Show { json }) => *json,
            Self::Version(arguments) => arguments.json,
            Self::Token(arguments) => arguments.json,
            Self::Config(ConfigCommand::Default) | Self::Completions(_) | Self::Man(_) => false,
        }
    }
}
