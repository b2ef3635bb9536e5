//! The command line in the program's clothes: its name, version, what it is, and examples.

use std::fmt::Write;

use clap::{Command, CommandFactory as _, FromArgMatches as _};

use super::{Cli, Program};

/// What to run, and what that does. A line without the name of the program has it where `{}` stands.
const EXAMPLES: [(&str, &str); 9] = [
    ("{}", "serve on 127.0.0.1:3000, sessions in memory"),
    (
        "{} --redis-url redis://localhost:6379",
        "serve; any node on this Redis serves any client",
    ),
    (
        "HOST=0.0.0.0 PORT=8080 {}",
        "the same settings from the environment",
    ),
    ("{} --set session.ttl=2h --set log.format=json", ""),
    ("MCP_SESSION__TTL=2h {}", "every setting has a variable"),
    (
        "{} --config settings.toml check",
        "are settings, address and store right?",
    ),
    ("{} config show", "what is in force, and where does it come from?"),
    ("{} health", "does the node on this machine answer?"),
    ("{} sessions list --limit 20", ""),
];

const AFTER_EXAMPLES: &str = "
Settings come from defaults, then the file, then the environment, then flags; the last one wins.
`{} config default` prints all of them, with what each means.
With --json, a command that fails prints its problems as JSON on standard output. Wrong usage is told in words.

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 store out of reach or refusing,
75 another process has this NODE_ID, 78 wrong settings.";

/// The command line of this process's program.
pub(super) fn command() -> Command {
    let Program {
        name, version, about, ..
    } = Program::this();
    Cli::command()
        .name(name)
        .bin_name(name)
        .version(version)
        .about(about)
        .after_help(examples(name))
}

/// Reads the flags of this process. Ends it where they are wrong, or ask for help or the version.
pub(super) fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The examples, with what they do in one column.
fn examples(name: &str) -> String {
    let lines = EXAMPLES.map(|(line, what)| (line.replace("{}", name), what));
    let explained = lines.iter().filter(|(_, what)| !what.is_empty());
    let width = explained.map(|(line, _)| line.len()).max().unwrap_or(0) + 6;
    let mut text = String::from("Examples:\n");
    for (line, what) in lines {
        let shown = format!("  {line:width$}{what}");
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{}", shown.trim_end());
    }
    text + &AFTER_EXAMPLES.replace("{}", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_those_of_the_program_in_columns() {
        let text = examples("bookmarks");
        assert!(!text.contains("mcp-server") && !text.contains("{}"), "{text}");
        let column = |what: &str| {
            let line = text.lines().find(|line| line.ends_with(what));
            line.and_then(|line| line.find(what)).expect("it is explained")
        };
        assert_eq!(
            column("does the node on this machine answer?"),
            column("every setting has a variable")
        );
    }
}
