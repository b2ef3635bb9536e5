//! Tokens of authorization servers (RFC 6749, RFC 6750; MCP, "Authorization"): JWTs are verified with their issuer's keys, and
//! of others their issuer is asked.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jsonwebtoken::{Algorithm, Validation, decode};

use super::cache::Verified;
use super::denied::{Denied, Flaw};
use super::issuer_health::IssuerHealth;
use crate::audit::Audit;
use crate::config::AuthSettings;
use crate::supervisor::Supervisor;

mod claims;
mod fetch;
mod introspection;
mod issuer;
mod key_set;
mod metadata;
mod ring_provider;

use claims::{Claims, ExpectedClaims, Jwt};
pub(crate) use fetch::FetcherError as OAuthError;
use introspection::Introspection;
pub(crate) use issuer::KeyTask;
use issuer::{Issuer, Known};
use key_set::Key;

/// Verifies tokens of the issuers that the settings name.
#[derive(Debug)]
pub(crate) struct OAuth {
    issuers: Vec<Issuer>,
    introspection: Option<Introspection>,
    algorithms: Vec<Algorithm>,
    audiences: Vec<String>,
    skew: Duration,
}

impl OAuth {
    /// What verifies tokens as the settings say, and the tasks that keep the issuers' keys; `None` if they name
    /// no issuer. A token is for this server if it names one of `audiences`.
    pub(super) fn new(
        auth: &AuthSettings,
        audiences: Vec<String>,
    ) -> Result<Option<(Self, Vec<KeyTask>)>, OAuthError> {
        if auth.issuers.is_empty() {
            return Ok(None);
        }
        ring_provider::install();
        let made: Vec<_> = auth
            .issuers
            .iter()
            .map(|url| Issuer::new(url, auth))
            .collect::<Result<_, _>>()?;
        let (issuers, tasks) = made.into_iter().unzip();
        let oauth = Self {
            issuers,
            introspection: Introspection::new(auth)?,
            algorithms: auth
                .algorithms
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect(),
            audiences,
            skew: auth.clock_skew,
        };
        Ok(Some((oauth, tasks)))
    }

    /// Verifies a token.
    pub(super) async fn verify(&self, token: &str) -> Result<Verified, Denied> {
        match (claims::is_jwt(token), &self.introspection) {
            (true, _) => self.verify_jwt(token).await,
            (false, Some(introspection)) => {
                let issuer = self.issuers.first().ok_or(Denied::Invalid(Flaw::Unknown))?;
                introspection.ask(token, &self.expected(issuer, true)).await
            }
            (false, None) => Err(Denied::Invalid(Flaw::Unknown)),
        }
    }

    async fn verify_jwt(&self, token: &str) -> Result<Verified, Denied> {
        let jwt = Jwt::read(token, &self.algorithms).map_err(Denied::Invalid)?;
        // Which keys count is decided by what the token says, and whether it says the truth by these keys.
        let issuer = self.issuers.iter().find(|issuer| *issuer.url == *jwt.issuer);
        let issuer = issuer.ok_or(Denied::Invalid(Flaw::Issuer))?;
        let known = issuer.keys().await?;
        match self.verify_with(&jwt, issuer, &known) {
            // The key is new, or another one under the id of an old one.
            Err(Flaw::Signature) => match issuer.newer(&known).await? {
                Some(newer) => self.verify_with(&jwt, issuer, &newer),
                None => Err(Flaw::Signature),
            },
            verified => verified,
        }
        .map_err(Denied::Invalid)
    }

    fn verify_with(&self, jwt: &Jwt<'_>, issuer: &Issuer, known: &Known) -> Result<Verified, Flaw> {
        let key: &Key = known
            .keys
            .find(jwt.key_id.as_deref(), jwt.algorithm)
            .ok_or(Flaw::Signature)?;
        // Times and types are checked with the other claims: the library takes some that are of the wrong type.
        let mut validation = Validation::new(jwt.algorithm);
        validation.validate_exp = false;
        validation.set_audience(&self.audiences);
        validation.set_issuer(&[&*issuer.url]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let decoded = decode::<Claims>(jwt.text, &key.decoding, &validation).map_err(|error| flaw(&error))?;
        let verified = decoded.claims.check(&self.expected(issuer, false))?;
        Ok(Verified {
            keys: Some(issuer.seen(known)),
            ..verified
        })
    }

    fn expected<'a>(&'a self, issuer: &'a Issuer, asked: bool) -> ExpectedClaims<'a> {
        ExpectedClaims {
            issuer: &issuer.url,
            audiences: &self.audiences,
            skew: self.skew,
            now: SystemTime::now(),
            asked,
        }
    }

    /// The metadata of the first issuer.
    pub(crate) fn document(&self) -> Option<Bytes> {
        self.issuers.first()?.known().document
    }

    /// How the issuers do.
    pub(crate) fn health(&self) -> Vec<IssuerHealth> {
        let of = |issuer: &Issuer| {
            let known = issuer.known();
            IssuerHealth {
                issuer: issuer.url.to_string(),
                keys_age: known.age(),
                failing: known.failed(),
            }
        };
        self.issuers.iter().map(of).collect()
    }
}

/// Asks each issuer once, and says in words what is wrong with those with which something is.
///
/// # Errors
/// [`OAuthError`].
pub(crate) async fn examine(auth: &AuthSettings) -> Result<Vec<String>, OAuthError> {
    let mut found = Vec::new();
    for url in &auth.issuers {
        if let Some(wrong) = issuer::examine(url, auth).await? {
            found.push(format!("issuer {url}: {wrong}"));
        }
    }
    Ok(found)
}

/// Runs the tasks of an OAuth as long as the node runs.
pub(crate) fn keep(tasks: Vec<KeyTask>, supervisor: &Supervisor, audit: &Audit) {
    for task in tasks {
        supervisor.spawn_vital("issuer-keys", task.run(audit.clone()));
    }
}

fn flaw(error: &jsonwebtoken::errors::Error) -> Flaw {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => Flaw::Signature,
        ErrorKind::InvalidAudience => Flaw::Audience,
        ErrorKind::InvalidIssuer => Flaw::Issuer,
        _ => Flaw::Malformed,
    }
}

#[cfg(test)]
mod random_tests;
