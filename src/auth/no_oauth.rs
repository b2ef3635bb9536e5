//! What stands for tokens of issuers in a program that is built without them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;

use super::cache::Verified;
use super::denied::Denied;
use crate::config::AuthSettings;
use crate::supervisor::Supervisor;

/// The settings name issuers, and this program cannot ask them.
#[derive(Debug, thiserror::Error)]
#[error("auth.issuers names an issuer, and this program was built without the feature `oauth`")]
pub(crate) struct OAuthError;

/// There is none.
#[derive(Debug)]
pub(crate) struct OAuth(Infallible);

/// There is none.
pub(crate) type KeyTask = Infallible;

/// How an issuer does, for `/health`.
#[derive(Debug, Clone)]
pub(crate) struct IssuerHealth {
    /// The issuer.
    pub issuer: String,
    /// How old its keys are.
    pub keys_age: Option<Duration>,
    /// Whether they could not be fetched.
    pub failing: bool,
}

impl OAuth {
    pub(super) fn new(
        auth: &AuthSettings,
        _audiences: Vec<String>,
    ) -> Result<Option<(Self, Vec<KeyTask>)>, OAuthError> {
        match auth.issuers.is_empty() {
            true => Ok(None),
            false => Err(OAuthError),
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
pub(crate) async fn examine(auth: &AuthSettings) -> Result<Vec<String>, OAuthError> {
    match auth.issuers.is_empty() {
        true => Ok(Vec::new()),
        false => Err(OAuthError),
    }
}

pub(crate) fn keep(_tasks: Vec<KeyTask>, _supervisor: &Supervisor) {}
