//! The `mcp-server` binary: command line in, exit code out.

use std::process::ExitCode;

use anynode::NoPeer;
use anynode::tools::Notebook;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    anynode::cli::main(|| NoPeer::new(Notebook::new(), Notebook::SILENT))
}
