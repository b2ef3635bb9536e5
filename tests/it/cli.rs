//! The command line: settings from everywhere, each command, and what `--help` teaches.

mod check;
mod health;
mod help;
mod own;
mod plain;
mod sessions;
mod settings;
mod version;
