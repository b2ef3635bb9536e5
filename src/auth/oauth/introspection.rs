//! Opaque tokens: their issuer is asked what they stand for (RFC 7662).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::warn;
use url::Url;

use super::super::cache::Verified;
use super::super::denied::{Denied, Flaw};
use super::claims::{Claims, ExpectedClaims};
use super::fetch::{Fetcher, FetcherError};
use crate::causes::causes;
use crate::config::AuthSettings;
use crate::telemetry::seldom;

/// How many questions are open at once.
const ASKED_MAX: usize = 64;

/// Asks an issuer about tokens.
pub(super) struct Introspection {
    fetcher: Fetcher,
    url: Url,
    client: String,
    secret: String,
    fresh: Duration,
    open: Semaphore,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct IntrospectionAnswer {
    active: bool,
    token_type: Option<String>,
    #[serde(flatten)]
    claims: serde_json::Map<String, serde_json::Value>,
}

impl Introspection {
    /// The one that the settings name, if they do.
    pub(super) fn new(auth: &AuthSettings) -> Result<Option<Self>, FetcherError> {
        if auth.introspection_url.is_empty() {
            return Ok(None);
        }
        let url: Url = auth
            .introspection_url
            .parse()
            .map_err(|_error| FetcherError::Url)?;
        Ok(Some(Self {
            fetcher: Fetcher::new(&url, auth.ca_file.as_deref())?,
            url,
            client: auth.introspection_client.clone(),
            secret: auth.introspection_secret.clone(),
            fresh: auth.introspection_fresh,
            open: Semaphore::new(ASKED_MAX),
        }))
    }

    /// Asks about a token.
    pub(super) async fn ask(&self, token: &str, expected: &ExpectedClaims<'_>) -> Result<Verified, Denied> {
        let _place = self.open.try_acquire().map_err(|_full| Denied::Unavailable)?;
        let form = [("token", token), ("token_type_hint", "access_token")];
        let asked = self
            .fetcher
            .post_form(&self.url, (&self.client, &self.secret), &form);
        let told = asked.await.map_err(|error| {
            let words = "an issuer could not be asked about a token";
            seldom(
                words,
                |left_out| warn!(error = %causes(&error), left_out, "{words}"),
            );
            Denied::Unavailable
        })?;
        let Ok(answer) = serde_json::from_slice::<IntrospectionAnswer>(&told.body) else {
            let words = "what an issuer says of a token cannot be read (RFC 7662, section 2.2)";
            seldom(words, |left_out| warn!(left_out, "{words}"));
            return Err(Denied::Unavailable);
        };
        let verified = answer.check(expected).map_err(Denied::Invalid)?;
        Ok(Verified {
            valid_for: verified.valid_for.min(self.fresh),
            ..verified
        })
    }
}

impl IntrospectionAnswer {
    fn check(self, expected: &ExpectedClaims<'_>) -> Result<Verified, Flaw> {
        if !self.active {
            return Err(Flaw::Revoked);
        }
        // Of one that needs a proof besides (DPoP) the holder is not known by the token alone.
        if self
            .token_type
            .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
        {
            return Err(Flaw::Malformed);
        }
        let claims: Claims = serde_json::from_value(self.claims.into()).map_err(|_error| Flaw::Malformed)?;
        claims.check(expected)
    }
}
