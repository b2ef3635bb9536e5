//! `mcp-server completions`: a script that completes the commands and flags in a shell.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::Cli;
use super::name::PROGRAM;

/// What `completions` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that shall complete
    shell: Shell,
}

pub(super) fn answer(arguments: &CompletionsArguments) -> String {
    let mut script = Vec::new();
    generate(arguments.shell, &mut Cli::command(), PROGRAM, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
