//! Who makes a request, as a program decides it by itself.

use std::fmt;

use async_trait::async_trait;
use http::HeaderName;
use http::request::Parts;

pub use crate::protocol::challenge::Challenge;
use crate::session::Identity;

/// Says who makes a request. It is asked for each request of a client, after `Host` and `Origin` were
/// checked and before the body is read. Health checks, metrics and preflights of browsers need no principal.
///
/// Sessions, streams, tasks and notebooks belong to the principal of the request that began them: to all
/// others they do not exist. So it must name the same principal on every node, and after a client has got a
/// new token, and never one principal for two users.
///
/// ```
/// use anynode::session::{Identity, Principal};
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
///     async fn authenticate(&self, head: &Parts) -> Result<Identity, Challenge> {
///         let user = head.headers.get(&USER).and_then(|user| user.to_str().ok());
///         match user {
///             Some(user) if !user.is_empty() => Ok(Principal(user.into()).into()),
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
    /// Who makes the request with this head: a principal, with the scopes and the time of its credentials if these bound it.
    /// [`Identity::anonymous`] is for one without credentials that may come in nevertheless. The scopes of the settings
    /// (`auth.scopes`, `auth.tool_scopes`) count for identities that have scopes.
    ///
    /// It has 10 s, after which the client gets 503. A panic is 500.
    ///
    /// # Errors
    /// The [`Challenge`] that the client gets instead of an answer.
    async fn authenticate(&self, head: &Parts) -> Result<Identity, Challenge>;

    /// The headers that it reads credentials from, besides `Authorization`. A request that has one of them twice
    /// is refused, and neither handlers nor the store see them.
    fn credentials(&self) -> &[HeaderName] {
        &[]
    }
}
