//! How a command ends: its exit code, and what it says when it fails.

use std::error::Error;
use std::process::ExitCode;

use super::failure::Several;
use crate::app::{AppError, AuditError};
use crate::cluster::membership::JoinError;
use crate::config::SettingsError;
use crate::net::tls_error::TlsError;
use crate::store::redis::ConnectError;
use crate::store::{StoreError, WhyRefused};

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

/// The exit code of a command that failed: that of the first cause which has one of its own.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    code_of(error).unwrap_or(Exit::Failure)
}

fn code_of(error: &anyhow::Error) -> Option<Exit> {
    match error.downcast_ref() {
        Some(Several(problems)) => problems.iter().find_map(code_of),
        None => error.chain().find_map(own_exit),
    }
}

fn own_exit(cause: &(dyn Error + 'static)) -> Option<Exit> {
    if cause.is::<SettingsError>()
        || cause.is::<NoSharedStore>()
        || cause.is::<TlsError>()
        || cause.is::<AuditError>()
    {
        return Some(Exit::Settings);
    }
    if let Some(error) = cause.downcast_ref::<ConnectError>() {
        return Some(of_connection(error));
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    // These errors wrap another and do not name it as their cause.
    match cause.downcast_ref::<AppError>()? {
        AppError::Open(error) => Some(of_connection(error)),
        AppError::Store(error) | AppError::Name(JoinError::Store(error)) => Some(of_store(error)),
        AppError::Name(JoinError::Taken { .. }) => Some(Exit::NameTaken),
        AppError::Auth(_) => Some(Exit::Settings),
        AppError::Tls(_) => Some(Exit::Settings),
        AppError::Audit(_) => Some(Exit::Settings),
        _ => None,
    }
}

/// Sessions in memory are those of another process.
#[derive(Debug, thiserror::Error)]
#[error(
    "REDIS_URL is not set: sessions in memory are seen only by the node that has them. To see those that nodes share in \
     Redis, set REDIS_URL as it is set for the nodes"
)]
pub(super) struct NoSharedStore;

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
    use std::io;

    use anyhow::anyhow;

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
        let exit = |error: anyhow::Error| exit_of(&error.context("it could not be done")) as u8;
        assert_eq!(exit(unreachable().into()), 69);
        assert_eq!(exit(AppError::from(unreachable()).into()), 69);
        let away = StoreError::Unreachable(Box::new(io::Error::other("refused")));
        assert_eq!(exit(away.into()), 69);
        assert_eq!(exit(wrong().into()), 78);
        assert_eq!(exit(AppError::from(wrong()).into()), 78);
        assert_eq!(exit(SettingsError { problems: vec![] }.into()), 78);
        assert_eq!(exit(NoSharedStore.into()), 78);
        let taken = JoinError::Taken {
            node: NodeId::generate(0),
            address: "http://127.0.0.1:3000".into(),
        };
        assert_eq!(exit(AppError::from(taken).into()), 75);
        assert_eq!(exit(anyhow!("there is no such session")), 1);
        // Of several problems, the first that has a code of its own.
        let several = Several(vec![anyhow!("an address in use"), unreachable().into()]);
        assert_eq!(exit_of(&several.into()) as u8, 69);
    }
}
