//! The `mcp-server` binary: command line in, exit code out.

use std::process::ExitCode;

use anynode::NoPeer;
use anynode::cli::{self, Program};
use anynode::tools::Notebook;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let program = Program::new(env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION")).about(
        "An MCP server that any node can serve: sessions live in Redis, so run as many nodes as you like behind any load \
         balancer",
    );
    cli::main(program, || NoPeer::new(Notebook::new(), Notebook::SILENT))
}
