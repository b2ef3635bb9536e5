//! Who makes a request: what a program may decide by itself, and the tokens of the settings.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use async_trait::async_trait;
use http::HeaderName;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::media::text;
pub use crate::protocol::challenge::Challenge;
use crate::session::Principal;

/// Says who makes a request. It is asked for each request of a client, after `Host` and `Origin` were
/// checked and before the body is read. Health checks, metrics and preflights of browsers need no principal.
///
/// Sessions, streams, tasks and notebooks belong to the principal of the request that began them: to all
/// others they do not exist. So it must name the same principal on every node, and after a client has got a
/// new token, and never one principal for two users.
///
/// ```
/// use anynode::session::Principal;
/// use anynode::{Authenticate, Challenge};
/// use http::HeaderName;
/// use http::request::Parts;
///
/// static USER: HeaderName = HeaderName::from_static("x-user");
///
/// /// Trusts the proxy in front, which has checked who it is.
/// #[derive(Debug)]
/// struct FromProxy;
///
/// #[async_trait::async_trait]
/// impl Authenticate for FromProxy {
///     async fn authenticate(&self, head: &Parts) -> Result<Principal, Challenge> {
///         let user = head.headers.get(&USER).and_then(|user| user.to_str().ok());
///         match user {
///             Some(user) if !user.is_empty() => Ok(Principal(user.into())),
///             _ => Err(Challenge::unauthorized("Bearer realm=\"example\"")),
///         }
///     }
///
///     fn credentials(&self) -> &[HeaderName] {
///         std::slice::from_ref(&USER)
///     }
/// }
/// ```
#[async_trait]
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// The principal of the request with this head, [`Principal::anonymous`] for one without credentials that
    /// may come in nevertheless.
    ///
    /// It has 10 s, after which the client gets 503. A panic is 500.
    ///
    /// # Errors
    /// The [`Challenge`] that the client gets instead of an answer.
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Challenge>;

    /// The headers that it reads credentials from, besides `Authorization`. A request that has one of them twice
    /// is refused, and neither handlers nor the store see them.
    fn credentials(&self) -> &[HeaderName] {
        &[]
    }
}

/// The tokens of `auth.tokens`, by their digests.
pub(super) struct StaticTokens(HashMap<[u8; 32], Principal>);

impl StaticTokens {
    /// These tokens, each by the name of its principal; `None` if there is none.
    #[must_use]
    pub(super) fn of(tokens: &BTreeMap<String, String>) -> Option<Self> {
        let by_digest = |(who, token): (&String, &String)| (digest(token), Principal(who.as_str().into()));
        let tokens: HashMap<_, _> = tokens.iter().map(by_digest).collect();
        (!tokens.is_empty()).then_some(Self(tokens))
    }

    /// Tokens are looked up by their digest, so that the time it takes tells nothing of how much of one was
    /// right.
    fn find(&self, head: &Parts) -> Option<Principal> {
        let (scheme, token) = text(&head.headers, &AUTHORIZATION)?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        is_bearer.then(|| self.0.get(&digest(token.trim())).cloned())?
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({})", self.0.len())
    }
}

#[async_trait]
impl Authenticate for StaticTokens {
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Challenge> {
        self.find(head)
            .ok_or_else(|| Challenge::unauthorized("Bearer realm=\"anynode\""))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
