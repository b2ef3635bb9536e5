//! What stands for tokens of issuers in a program that is built without them.

use std::convert::Infallible;

use bytes::Bytes;

use super::cache::Verified;
use super::denied::Denied;
use super::issuer_health::IssuerHealth;
use crate::audit::Audit;
use crate::config::AuthSettings;
use crate::supervisor::Supervisor;

// Under the names that they have where there are issuers.
pub(crate) use self::NoOAuthError as OAuthError;
pub(super) use self::{NoKeyTask as KeyTask, NoOAuth as OAuth};

/// The settings name issuers, and this program cannot ask them.
#[derive(Debug, thiserror::Error)]
#[error("auth.issuers names an issuer, and this program was built without the feature `oauth`")]
pub(crate) struct NoOAuthError;

/// There is none.
#[derive(Debug)]
pub(crate) struct NoOAuth(Infallible);

/// There is none.
pub(crate) type NoKeyTask = Infallible;

impl NoOAuth {
    pub(super) fn new(
        auth: &AuthSettings,
        _audiences: Vec<String>,
    ) -> Result<Option<(Self, Vec<NoKeyTask>)>, NoOAuthError> {
        match auth.issuers.is_empty() {
            true => Ok(None),
            false => Err(NoOAuthError),
        }
    }

    #[expect(clippy::unused_async, reason = "it is awaited where there are issuers")]
    pub(super) async fn verify(&self, _token: &str) -> Result<Verified, Denied> {
        match self.0 {}
    }

    pub(crate) fn document(&self) -> Option<Bytes> {
        match self.0 {}
    }

    pub(crate) fn health(&self) -> Vec<IssuerHealth> {
        match self.0 {}
    }
}

#[expect(clippy::unused_async, reason = "it is awaited where there are issuers")]
pub(crate) async fn examine(auth: &AuthSettings) -> Result<Vec<String>, NoOAuthError> {
    match auth.issuers.is_empty() {
        true => Ok(Vec::new()),
        false => Err(NoOAuthError),
    }
}

pub(crate) fn keep(_tasks: Vec<NoKeyTask>, _supervisor: &Supervisor, _audit: &Audit) {}
