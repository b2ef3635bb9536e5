//! `mcp-server man`: manual pages, for the program and for each of its commands.

use anyhow::Context as _;
use clap_mangen::Man;

use super::help;

/// What `man` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArguments {
    /// The command whose page to print, such as `sessions list`; without one, the program's
    command: Vec<String>,
}

/// The page.
///
/// # Errors
/// When there is no such command.
pub(super) fn answer(arguments: &ManArguments) -> anyhow::Result<String> {
    let mut all = help::command();
    // Each command then knows its whole name, and the flags that all take.
    all.build();
    let mut command = &all;
    for name in &arguments.command {
        let found = command.find_subcommand(name);
        command = found.with_context(|| format!("there is no command {}", arguments.command.join(" ")))?;
    }
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    if let Some(examples) = command.get_after_help() {
        page += &as_written(&examples.to_string());
    }
    Ok(page)
}

/// A section whose lines stay as they are.
fn as_written(examples: &str) -> String {
    let text = examples.trim_start_matches("Examples:").trim_matches('\n');
    format!(
        ".SH EXAMPLES\n.nf\n{}\n.fi\n",
        text.replace('\\', "\\\\").replace('-', "\\-")
    )
}
