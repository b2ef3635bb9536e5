//! How a command ends: its exit code, and what it says when it fails.

use std::io;
use std::process::ExitCode;

use super::health::HealthError;
use crate::app::AppError;
use crate::cluster::membership::JoinError;
use crate::config::SettingsError;
use crate::store::redis::ConnectError;
use crate::store::{StoreError, WhyRefused};
use crate::telemetry::TelemetryError;

/// A command's exit code. 64 and above are those of BSD's `sysexits.h`; clap uses 2 for wrong usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failure = 1,
    /// The store is out of reach, or full, or takes no writes (`EX_UNAVAILABLE`).
    Unreachable = 69,
    /// Another process has this node's name (`EX_TEMPFAIL`: it may end).
    NameTaken = 75,
    /// Settings are wrong (`EX_CONFIG`).
    Settings = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Settings are wrong.
    #[error("{}", wrong(.0))]
    Settings(#[from] SettingsError),
    /// Logs could not be set up.
    #[error(transparent)]
    Logs(#[from] TelemetryError),
    /// The runtime could not be started.
    #[error("the runtime could not be started")]
    Runtime(#[source] io::Error),
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] ConnectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not do as it should.
    #[error("the store answered, but not as it should: {0}")]
    Misbehaved(&'static str),
    /// No node answered.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// Sessions in memory are those of another process.
    #[error(
        "REDIS_URL is not set: sessions in memory can be seen only by the node that has them; set it to the node's"
    )]
    NoSharedStore,
    /// There is no session of that id.
    #[error("there is no such session: it has ended or expired, or never was")]
    NoSession,
    /// The answer could not be written.
    #[error("the answer could not be written")]
    Output(#[from] io::Error),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] AppError),
}

impl CliError {
    /// The exit code that tells it.
    #[must_use]
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Settings(_) | Self::NoSharedStore => Exit::Settings,
            Self::Open(error) | Self::Serve(AppError::Open(error)) => of_connection(error),
            Self::Store(error)
            | Self::Serve(AppError::Store(error) | AppError::Name(JoinError::Store(error))) => {
                of_store(error)
            }
            Self::Serve(AppError::Name(JoinError::Taken { .. })) => Exit::NameTaken,
            Self::Logs(_)
            | Self::Runtime(_)
            | Self::Misbehaved(_)
            | Self::Health(_)
            | Self::NoSession
            | Self::Output(_)
            | Self::Serve(_) => Exit::Failure,
        }
    }
}

/// One problem is one line; several stand below a line that counts them.
fn wrong(settings: &SettingsError) -> String {
    match settings.problems.len() {
        0 | 1 => settings.to_string(),
        count => format!("{count} settings are wrong:\n{settings}"),
    }
}

const fn of_connection(error: &ConnectError) -> Exit {
    if error.is_settings() {
        Exit::Settings
    } else {
        Exit::Unreachable
    }
}

const fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Unreachable(_) => Exit::Unreachable,
        StoreError::Refused { why, .. } => of_refusal(*why),
        StoreError::Corrupt(_) | StoreError::Newer(_) => Exit::Failure,
    }
}

const fn of_refusal(why: WhyRefused) -> Exit {
    match why {
        WhyRefused::NotPermitted => Exit::Settings,
        why if why.may_pass() => Exit::Unreachable,
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::NodeId;

    #[test]
    fn scripts_can_tell_a_store_that_is_away_from_settings_that_are_wrong() {
        let url = || "redis://localhost".to_owned();
        let unreachable = || ConnectError::Unreachable {
            url: url(),
            why: "refused".into(),
        };
        let wrong = || ConnectError::BadUrl {
            url: url(),
            why: "no port".into(),
        };
        assert_eq!(CliError::from(unreachable()).exit() as u8, 69);
        assert_eq!(CliError::from(AppError::from(unreachable())).exit() as u8, 69);
        assert_eq!(
            CliError::from(StoreError::Unreachable(Box::new(io::Error::other("refused")))).exit() as u8,
            69
        );
        assert_eq!(CliError::from(wrong()).exit() as u8, 78);
        assert_eq!(CliError::from(AppError::from(wrong())).exit() as u8, 78);
        assert_eq!(
            CliError::from(SettingsError { problems: vec![] }).exit() as u8,
            78
        );
        let taken = JoinError::Taken {
            node: NodeId::generate(0),
            address: "http://127.0.0.1:3000".into(),
        };
        assert_eq!(CliError::from(AppError::from(taken)).exit() as u8, 75);
        assert_eq!(CliError::NoSession.exit() as u8, 1);
    }
}
