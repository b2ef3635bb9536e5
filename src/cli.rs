//! The command line: its commands, its flags, and the sources of settings.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::builder::UnknownArgumentValueParser;
use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;

use crate::app::Builder;
use crate::config::{self, SettingsError, Sources};
use crate::engine::handler::Handler;
use crate::telemetry;

mod check;
mod command;
mod completions;
mod exit;
mod failure;
mod health;
mod help;
mod man;
mod plain;
mod print;
mod program;
mod serve;
mod sessions;
mod settings;
mod times;
mod token;
mod version;

pub use exit::Exit;
pub use program::Program;

use command::NodeCommand;
use plain::PlainCommand;

/// The command line. Name, version and words are those of the [`Program`], see [`help`].
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
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

/// A whole program: the command line, settings and logs of `mcp-server`, under the name of `program`, for a
/// handler of your own.
///
/// ```no_run
/// # use std::process::ExitCode;
/// # use rmcp::ServerHandler;
/// # #[derive(Default)] struct MyServer;
/// # impl ServerHandler for MyServer {}
/// fn main() -> ExitCode {
///     anynode::cli::main(anynode::program!(), MyServer::default)
/// }
/// ```
pub fn main<H: Handler>(program: Program, make: impl FnOnce() -> H) -> ExitCode {
    main_with(program, async |app, ()| Ok(app.handler(make)))
}

/// The same for a program that has settings of its own, that waits for something before it can serve, or that
/// has a store or authentication of its own. `make` is asked when the program shall serve: it gets the node's
/// builder, with the settings, and the program's own settings, which [`Program::settings`] names.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use anynode::cli;
/// # use rmcp::ServerHandler;
/// # struct Bookmarks;
/// # impl ServerHandler for Bookmarks {}
/// # impl Bookmarks { async fn open(_: &str) -> std::io::Result<Self> { Ok(Self) } }
///
/// #[derive(serde::Deserialize)]
/// struct BookmarkSettings {
///     database: String,
/// }
///
/// fn main() -> ExitCode {
///     let defaults = "[bookmarks]\n# Where they are kept.\ndatabase = \"bookmarks.db\"\n";
///     let program = anynode::program!().settings("bookmarks", defaults);
///     cli::main_with(program, async |app, own: BookmarkSettings| {
///         let bookmarks = Bookmarks::open(&own.database).await?;
///         Ok(app.handler(|| bookmarks))
///     })
/// }
/// ```
pub fn main_with<S, F>(program: Program, make: impl FnOnce(Builder, S) -> F) -> ExitCode
where
    S: DeserializeOwned,
    F: Future<Output = Result<Builder, Box<dyn Error + Send + Sync>>>,
{
    program.begin();
    let (json, ended) = {
        // Also when it panics.
        let _written = telemetry::AtEnd;
        let cli = help::parse();
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
    fn start<S, F>(self, make: impl FnOnce(Builder, S) -> F) -> anyhow::Result<Exit>
    where
        S: DeserializeOwned,
        F: Future<Output = Result<Builder, Box<dyn Error + Send + Sync>>>,
    {
        let sources = self.settings.over(Sources::from_process());
        let command = match self.command {
            Some(Command::Plain(command)) => return command.run(sources),
            Some(Command::Node(command)) => command,
            None => NodeCommand::Serve,
        };
        let loaded = config::load_with(sources, Program::this().own)?;
        let own = config::read_own(loaded.own.clone()).map_err(|problem| SettingsError {
            problems: vec![problem],
        })?;
        telemetry::init(&command.log(&loaded.settings.log))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the runtime could not be started")?;
        runtime.block_on(command.run(loaded, |app| make(app, own)))
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
    use super::*;
    use crate::config::load;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from(arguments).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        help::command().debug_assert();
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
