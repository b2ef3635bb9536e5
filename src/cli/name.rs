//! What this program is called where it speaks of itself. All of the command line takes it from here.

/// The name of the program.
pub(super) const PROGRAM: &str = "mcp-server";
