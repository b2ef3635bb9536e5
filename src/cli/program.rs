//! What a program is called and says of itself, wherever its command line speaks.

use std::sync::OnceLock;

use crate::config::OwnArea;

/// What a program says of itself; [`program!`](crate::program!) makes one from the package that it is in.
///
/// ```no_run
/// # use std::process::ExitCode;
/// # use rmcp::ServerHandler;
/// # #[derive(Default)] struct MyServer;
/// # impl ServerHandler for MyServer {}
/// use anynode::cli::{self, Program};
///
/// fn main() -> ExitCode {
///     let program = Program::new("bookmarks", "1.2.0").about("Bookmarks that agents share");
///     cli::main(program, MyServer::default)
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Program {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) about: &'static str,
    pub(super) own: Option<OwnArea>,
}

/// What the command line is called where nobody has said.
const UNNAMED: Program = Program::new("mcp-server", env!("CARGO_PKG_VERSION"));

static PROGRAM: OnceLock<Program> = OnceLock::new();

impl Program {
    /// A program of that name and version, for its command line, its greeting and its errors.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            about: "",
            own: None,
        }
    }

    /// The same with a sentence on what it is, for `--help`.
    #[must_use]
    pub const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// The same with settings of its own below `[area]`. `defaults` is a settings file with each of them, its
    /// default and what it means: it is what `config default` prints, and what there is to set, in a file,
    /// as `MCP_AREA__NAME`, and with `--set area.name=`. What they mean is for
    /// [`main_with`](super::main_with) to read.
    #[must_use]
    pub const fn settings(self, area: &'static str, defaults: &'static str) -> Self {
        let own = OwnArea { name: area, defaults };
        Self {
            own: Some(own),
            ..self
        }
    }

    /// Makes it the one that this process is.
    pub(super) fn begin(self) {
        PROGRAM.get_or_init(|| self);
    }

    /// The one that this process is.
    pub(super) fn this() -> Self {
        PROGRAM.get().copied().unwrap_or(UNNAMED)
    }
}

/// A [`Program`] with the name of the binary that this is in, and its package's version and
/// description.
#[macro_export]
macro_rules! program {
    () => {
        $crate::cli::Program::new(
            match option_env!("CARGO_BIN_NAME") {
                Some(binary) => binary,
                None => env!("CARGO_PKG_NAME"),
            },
            env!("CARGO_PKG_VERSION"),
        )
        .about(env!("CARGO_PKG_DESCRIPTION"))
    };
}
