//! The `mcp-server` binary: command line in, exit code out.

use std::process::ExitCode;

use anyhow::Context;
use anynode::cli::{Cli, CliError, Exit, print};
use anynode::{config, telemetry};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            print::failure(error.as_ref());
            let exit = error
                .downcast_ref::<CliError>()
                .map_or(Exit::Failure, CliError::exit);
            exit.into()
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let loaded = config::load(cli.sources()).map_err(CliError::from)?;
    telemetry::init(&cli.log(&loaded.settings.log))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    Ok(runtime.block_on(cli.run(loaded))?)
}
