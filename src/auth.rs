//! Who calls: the credentials that the settings know, and how each kind is checked.
//!
//! A request's credentials are looked at in one order: a header of a trusted proxy, a bearer token, a client certificate. Bearer
//! tokens are those of the settings ([`tokens`]), or those of authorization servers ([`oauth`]). A token that was verified is known for a
//! while by its text ([`cache`]), so nearly every request is decided at once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::audit::Audit;
use crate::config::AuthSettings;
use crate::session::Identity;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics;

mod cache;
mod challenges;
mod denied;
mod issuer_health;
#[cfg_attr(not(feature = "oauth"), path = "auth/no_oauth.rs")]
mod oauth;
mod principals;
mod resource;
mod scopes;
mod tokens;

use cache::{TokenCache, Verified};
pub(crate) use challenges::Challenges;
pub(crate) use denied::{Denied, Flaw};
pub(crate) use issuer_health::IssuerHealth;
use oauth::{KeyTask, OAuth};
pub(crate) use oauth::{OAuthError, examine as examine_issuers};
pub(crate) use resource::{METADATA, ProtectedResource, ServerEndpoint};
pub(crate) use scopes::{Lacking, ScopePolicy};
use tokens::StaticTokens;
pub(crate) use tokens::{TokenDigest, fresh_token};

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The longest name that a proxy gives.
const PROXY_NAME_BYTES_MAX: usize = 4 << 10;

/// The credentials that the settings know.
pub(crate) struct Credentials {
    tokens: StaticTokens,
    oauth: Option<OAuth>,
    verified: TokenCache,
    proxy_header: Option<HeaderName>,
    optional: bool,
    anonymous: Identity,
}

/// What is known of the connection that a request comes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Via<'a> {
    /// Whether a trusted proxy is at its other end.
    pub trusted: bool,
    /// The name in the client certificate that was shown on it.
    pub certificate: Option<&'a Arc<str>>,
}

/// What a look at a request's credentials says.
#[derive(Debug)]
pub(crate) enum Looked<'a> {
    /// It is known who sends it.
    Known(Identity),
    /// They do not count.
    Denied(Denied),
    /// There is a token that must be verified first.
    Unverified(&'a str),
}

impl Credentials {
    /// Those of the settings, and the tasks that they need; `None` if the settings ask for none. `certificates` tells
    /// whether clients can show certificates.
    ///
    /// # Errors
    /// [`OAuthError`].
    pub(crate) fn new(
        auth: &AuthSettings,
        certificates: bool,
        resource: Option<&ProtectedResource>,
    ) -> Result<Option<(Self, AuthTasks)>, OAuthError> {
        if !auth.knows_credentials() && !certificates {
            return Ok(None);
        }
        let mut audiences = resource.map(ProtectedResource::audiences).unwrap_or_default();
        audiences.extend(auth.audiences.iter().cloned());
        let (oauth, tasks) = OAuth::new(auth, audiences)?.unzip();
        let credentials = Self {
            tokens: StaticTokens::new(auth),
            oauth,
            verified: TokenCache::new(auth.cache_max),
            proxy_header: auth.proxy_header.parse().ok(),
            optional: auth.optional,
            anonymous: Identity::anonymous(),
        };
        Ok(Some((credentials, AuthTasks(tasks.unwrap_or_default()))))
    }

    /// Looks at a request's credentials, without waiting for anything.
    pub(crate) fn look<'a>(&self, head: &'a Parts, via: Via<'_>) -> Looked<'a> {
        // Also beside good credentials: what stands in a URL stands in logs (RFC 6750, section 2.3).
        if is_in_query(head) {
            return Looked::Denied(Denied::InQuery);
        }
        if let Some(name) = self.named_by_proxy(&head.headers, via) {
            return Looked::Known(Identity::of(principals::by_proxy(name)));
        }
        match bearer(&head.headers) {
            Bearer::Token(token) => self.known(token),
            Bearer::Odd => Looked::Denied(Denied::Missing),
            Bearer::None => match via.certificate {
                Some(name) => Looked::Known(Identity::of(principals::certificate(name))),
                None if self.optional => Looked::Known(self.anonymous.clone()),
                None => Looked::Denied(Denied::Missing),
            },
        }
    }

    fn known<'a>(&self, token: &'a str) -> Looked<'a> {
        if token.len() > TOKEN_BYTES_MAX {
            return Looked::Denied(Denied::Invalid(Flaw::Malformed));
        }
        if let Some(identity) = self.verified.get(token) {
            return Looked::Known(identity);
        }
        match self.tokens.find(token) {
            Some(verified) => {
                let identity = verified.identity.clone();
                self.verified.keep(token, verified);
                metrics::credentials_checked("static");
                Looked::Known(identity)
            }
            None => Looked::Unverified(token),
        }
    }

    /// Verifies a token, and knows it from then on.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) async fn verify(&self, token: &str, policy: &ScopePolicy) -> Result<Identity, Denied> {
        let verified = match &self.oauth {
            Some(oauth) => oauth.verify(token).await,
            None => Err(Denied::Invalid(Flaw::Unknown)),
        };
        metrics::credentials_checked(match &verified {
            Ok(_) => "verified",
            Err(Denied::Invalid(flaw)) => flaw.label(),
            Err(Denied::Missing | Denied::InQuery) => "missing",
            Err(Denied::Unavailable) => "unavailable",
        });
        let verified = verified?;
        let identity = policy.expand(verified.identity);
        self.verified.keep(
            token,
            Verified {
                identity: identity.clone(),
                ..verified
            },
        );
        Ok(identity)
    }

    /// The principal that a trusted proxy names.
    fn named_by_proxy<'a>(&self, headers: &'a HeaderMap, via: Via<'_>) -> Option<&'a str> {
        let header = self.proxy_header.as_ref()?;
        let name = headers.get(header)?.to_str().ok()?.trim();
        let good = via.trusted && !name.is_empty() && name.len() <= PROXY_NAME_BYTES_MAX;
        good.then_some(name)
    }

    /// The header that proxies name principals in.
    pub(crate) fn proxy_header(&self) -> Option<&HeaderName> {
        self.proxy_header.as_ref()
    }

    /// The metadata of the first issuer, if it was read.
    pub(crate) fn issuer_metadata(&self) -> Option<Bytes> {
        self.oauth.as_ref()?.document()
    }

    /// How the issuers do.
    pub(crate) fn issuers(&self) -> Vec<IssuerHealth> {
        self.oauth.as_ref().map(OAuth::health).unwrap_or_default()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("oauth", &self.oauth)
            .field("proxy_header", &self.proxy_header)
            .field("optional", &self.optional)
            .finish_non_exhaustive()
    }
}

/// The tasks of a node's credentials.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct AuthTasks(Vec<KeyTask>);

impl AuthTasks {
    /// Runs them as long as the node runs.
    pub(crate) fn start(self, supervisor: &Supervisor, audit: &Audit) {
        oauth::keep(self.0, supervisor, audit);
    }
}

/// What `Authorization` holds.
enum Bearer<'a> {
    None,
    /// A token, if only an empty one.
    Token(&'a str),
    /// Another scheme, or what is no text.
    Odd,
}

fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Bearer::None;
    };
    let Ok(text) = value.to_str() else {
        return Bearer::Odd;
    };
    match text.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Bearer::Token(token.trim()),
        _ => Bearer::Odd,
    }
}

/// Whether a token stands in the URL, where logs and proxies see it (RFC 6750, section 2.3).
fn is_in_query(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.starts_with("access_token="))
}
