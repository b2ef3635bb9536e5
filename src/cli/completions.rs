//! `mcp-server completions`: a script that completes the commands and flags in a shell.

use clap_complete::{Shell, generate};

use super::{Program, help};

/// What `completions` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that shall complete
    shell: Shell,
}

pub(super) fn answer(arguments: &CompletionsArguments) -> String {
    let mut script = Vec::new();
    let (mut command, name) = (help::command(), Program::this().name);
    generate(arguments.shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
