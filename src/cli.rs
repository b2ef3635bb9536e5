//! The command line: its commands, its flags, and the sources of settings.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, LogSettings, Sources};
use crate::engine::handler::Handler;
use crate::telemetry;

mod check;
mod exit;
mod health;
mod print;
mod serve;
mod sessions;

pub use exit::Exit;

/// The examples below the list of commands.
const EXAMPLES: &str = "\
Examples:
  mcp-server                                         serve on 127.0.0.1:3000, sessions in memory
  mcp-server --redis-url redis://localhost:6379      serve; any node on this Redis serves any client
  HOST=0.0.0.0 PORT=8080 mcp-server                  the same settings from the environment
  mcp-server --set session.ttl=2h --set log.format=json
  MCP_SESSION__TTL=2h mcp-server                     every setting has a variable
  mcp-server --config settings.toml check            are settings and store right?
  mcp-server health                                  does the node on this machine answer?
  mcp-server sessions list --limit 20

Settings come from defaults, then the file, then the environment, then flags; the last one wins.
settings.default.toml documents all of them.

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 store out of reach or refusing,
75 another process has this NODE_ID, 78 wrong settings.";

/// An MCP server that any node can serve: sessions live in Redis, so run as many nodes as you like behind any
/// load balancer.
#[derive(Debug, Parser)]
#[command(name = "mcp-server", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// Where the settings come from.
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// What to do; without it, serve.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
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
        help = "The Redis to use; a password is safer in the variable [env: REDIS_URL] [default: in memory]"
    )]
    pub(crate) redis_url: Option<String>,
    /// `node_id`
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help = "This node's name [env: NODE_ID] [default: made at each start]"
    )]
    pub(crate) node_id: Option<String>,
    /// Set any setting; may be repeated, such as --set session.ttl=10m
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve MCP until a signal to stop (the default)
    Serve,
    /// Read the settings, try the store, and report what is wrong
    Check(check::CheckArguments),
    /// Ask a running node whether it is well; for container health checks
    Health(health::HealthArguments),
    /// List, show and end sessions
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
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
    let ended = {
        // Also when it panics.
        let _written = telemetry::AtEnd;
        Cli::parse().start(make)
    };
    let exit = ended.unwrap_or_else(|error| {
        print::failure(error.as_ref());
        exit::exit_of(&error)
    });
    exit.into()
}

impl Cli {
    /// Reads the settings, starts the logs and a runtime, and does what was asked for.
    fn start<H: Handler>(self, make: impl FnOnce() -> H) -> anyhow::Result<Exit> {
        let loaded = config::load(self.sources())?;
        telemetry::init(&self.log(&loaded.settings.log))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the runtime could not be started")?;
        runtime.block_on(self.run(loaded, make))
    }

    /// The sources of settings: the process's environment, overridden by these flags.
    #[must_use]
    pub(crate) fn sources(&self) -> Sources {
        self.settings.over(Sources::from_process())
    }

    /// How to log: a server as the settings say; a command logs only failures, so that its answer stands
    /// alone.
    #[must_use]
    pub(crate) fn log(&self, settings: &LogSettings) -> LogSettings {
        match self.command {
            None | Some(Command::Serve) => settings.clone(),
            Some(_) => LogSettings {
                level: "warn".into(),
                format: settings.format,
            },
        }
    }

    /// Does what was asked for. A node serves the handler that `make` makes.
    ///
    /// # Errors
    /// Why it could not be done; [`exit_of`](exit::exit_of) knows the exit code.
    pub(crate) async fn run<H: Handler>(
        self,
        loaded: Loaded,
        make: impl FnOnce() -> H,
    ) -> anyhow::Result<Exit> {
        match self.command {
            None | Some(Command::Serve) => serve::run(loaded, make).await,
            Some(Command::Check(arguments)) => check::run(&arguments, &loaded).await,
            Some(Command::Health(arguments)) => health::run(&arguments, &loaded.settings).await,
            Some(Command::Sessions(command)) => sessions::run(&command, &loaded.settings).await,
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
    use crate::config::{LogFormat, load};

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

    #[test]
    fn only_the_server_logs_what_goes_well() {
        let settings = LogSettings {
            level: "info".into(),
            format: LogFormat::Text,
        };
        assert_eq!(parse(&["mcp-server"]).log(&settings).level, "info");
        assert_eq!(parse(&["mcp-server", "health"]).log(&settings).level, "warn");
    }
}
