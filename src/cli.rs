//! The command line: its commands, its flags, and the sources of settings.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::builder::UnknownArgumentValueParser;
use clap::{Args, Parser, Subcommand};

use crate::config::{self, Sources};
use crate::engine::handler::Handler;
use crate::telemetry;

mod check;
mod command;
mod completions;
mod exit;
mod failure;
mod health;
mod man;
mod name;
mod plain;
mod print;
mod serve;
mod sessions;
mod settings;
mod times;
mod version;

pub use exit::Exit;

use command::NodeCommand;
use name::PROGRAM;
use plain::PlainCommand;

/// The examples below the list of commands.
const EXAMPLES: &str = "\
Examples:
  mcp-server                                         serve on 127.0.0.1:3000, sessions in memory
  mcp-server --redis-url redis://localhost:6379      serve; any node on this Redis serves any client
  HOST=0.0.0.0 PORT=8080 mcp-server                  the same settings from the environment
  mcp-server --set session.ttl=2h --set log.format=json
  MCP_SESSION__TTL=2h mcp-server                     every setting has a variable
  mcp-server --config settings.toml check            are settings, address and store right?
  mcp-server config show                             what is in force, and where does it come from?
  mcp-server health                                  does the node on this machine answer?
  mcp-server sessions list --limit 20

Settings come from defaults, then the file, then the environment, then flags; the last one wins.
`mcp-server config default` prints all of them, with what each means.
With --json, a command that fails says so on standard output, as JSON.

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 store out of reach or refusing,
75 another process has this NODE_ID, 78 wrong settings.";

/// An MCP server that any node can serve: sessions live in Redis, so run as many nodes as you like behind any
/// load balancer.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// Where the settings come from.
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// What to do; without it, serve.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Many MCP servers are started so; this one would leave its client waiting.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = no_stdio())]
    pub(crate) stdio: Option<String>,
}

/// Refuses `--stdio`, and says what to do instead.
fn no_stdio() -> UnknownArgumentValueParser {
    UnknownArgumentValueParser::suggest(
        "this server speaks HTTP: start it, and give clients that speak stdio only a bridge, such as `npx mcp-remote URL`",
    )
}

/// Flags that every command takes. Their values are read with all other settings, so that all mistakes are
/// reported together.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// The settings file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "Read settings from this TOML file [env: MCP_CONFIG]"
    )]
    pub(crate) config: Option<PathBuf>,
    /// `port`
    #[arg(
        long,
        global = true,
        help = "Listen on this TCP port [env: PORT] [default: 3000]"
    )]
    pub(crate) port: Option<String>,
    /// `host`
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        help = "Listen on this address, or on unix:/path [env: HOST] [default: 127.0.0.1]"
    )]
    pub(crate) host: Option<String>,
    /// `redis_url`
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "Keep sessions in this Redis; pass a password in the variable, where other users cannot see it [env: REDIS_URL] \
                [default: in memory]"
    )]
    pub(crate) redis_url: Option<String>,
    /// `node_id`
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help = "Name this node [env: NODE_ID] [default: a new name at each start]"
    )]
    pub(crate) node_id: Option<String>,
    /// Set any setting, such as --set session.ttl=10m; may be given several times
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // About a node, or the store that nodes share.
    #[command(flatten)]
    Node(NodeCommand),
    // Answered from the program and its settings alone.
    #[command(flatten)]
    Plain(PlainCommand),
}

/// A whole program: the command line, settings and logs of `mcp-server`, for a handler of your own.
///
/// ```no_run
/// # use std::process::ExitCode;
/// # use rmcp::ServerHandler;
/// # #[derive(Default)] struct MyServer;
/// # impl ServerHandler for MyServer {}
/// fn main() -> ExitCode {
///     anynode::cli::main(MyServer::default)
/// }
/// ```
pub fn main<H: Handler>(make: impl FnOnce() -> H) -> ExitCode {
    let (json, ended) = {
        // Also when it panics.
        let _written = telemetry::AtEnd;
        let cli = Cli::parse();
        (cli.in_json(), cli.start(make))
    };
    let exit = ended.unwrap_or_else(|error| {
        failure::tell(&error, json);
        exit::exit_of(&error)
    });
    exit.into()
}

impl Cli {
    /// Reads the settings, starts the logs and a runtime, and does what was asked for.
    fn start<H: Handler>(self, make: impl FnOnce() -> H) -> anyhow::Result<Exit> {
        let sources = self.settings.over(Sources::from_process());
        let command = match self.command {
            Some(Command::Plain(command)) => return command.run(sources),
            Some(Command::Node(command)) => command,
            None => NodeCommand::Serve,
        };
        let loaded = config::load(sources)?;
        telemetry::init(&command.log(&loaded.settings.log))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the runtime could not be started")?;
        runtime.block_on(command.run(loaded, make))
    }

    /// Whether it answers in JSON.
    fn in_json(&self) -> bool {
        match &self.command {
            None => false,
            Some(Command::Node(command)) => command.in_json(),
            Some(Command::Plain(command)) => command.in_json(),
        }
    }
}

impl SettingsArgs {
    /// Other sources, overridden by these flags.
    #[must_use]
    pub(crate) fn over(&self, mut sources: Sources) -> Sources {
        sources.file = self.config.clone().or(sources.file);
        sources.flags.extend(self.set.iter().cloned());
        // After `--set`, so that the flag with a name of its own wins.
        let named = [
            ("port", &self.port),
            ("host", &self.host),
            ("redis_url", &self.redis_url),
            ("node_id", &self.node_id),
        ];
        let given = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        sources.flags.extend(given);
        sources
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE, such as session.ttl=10m".into())
}

/// The time now, in unix milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::load;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from(arguments).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_go_before_or_after_the_command_and_override_the_rest() {
        let environment = Sources {
            environment: vec![("PORT".into(), "1".into()), ("HOST".into(), "::1".into())],
            ..Sources::default()
        };
        for arguments in [
            ["mcp-server", "serve", "--port", "8080", "--set", "session.ttl=2h"],
            ["mcp-server", "--port", "8080", "--set", "session.ttl=2h", "serve"],
        ] {
            let loaded = load(parse(&arguments).settings.over(environment.clone())).unwrap();
            assert_eq!(loaded.settings.port, 8080);
            assert_eq!(loaded.settings.host, "::1");
            assert_eq!(loaded.settings.session.ttl, Duration::from_secs(7200));
        }
    }

    #[test]
    fn wrong_flags_are_reported_with_all_other_settings() {
        let cli = parse(&["mcp-server", "--port", "http", "--set", "sesion.ttl=1m"]);
        let error = load(cli.settings.over(Sources::default())).unwrap_err();
        assert_eq!(error.problems.len(), 2);
        assert_eq!(error.problems[0].source, "--port");
    }

    #[test]
    fn an_assignment_needs_a_name_and_a_value() {
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(assignment("a.b").is_err());
        assert!(assignment("=c").is_err());
    }
}
