//! The `mcp-server` binary: command line in, exit code out.

use std::process::ExitCode;

use anynode::tools::Notebook;

fn main() -> ExitCode {
    anynode::cli::main(Notebook::new)
}
