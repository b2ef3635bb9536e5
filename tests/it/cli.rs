//! The command line: settings from everywhere, `check`, `health`, `sessions`, and what `--help` teaches.

mod check;
mod health;
mod help;
mod sessions;
mod settings;
