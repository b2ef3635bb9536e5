//! Who makes a request, as its credentials say, and what these allow.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::record::Principal;

/// Who makes a request. Clones share it.
///
/// ```
/// use anynode::session::{Identity, Principal};
///
/// let alice = Identity::of(Principal("alice".into())).with_scopes(["notes:read"]);
/// assert!(alice.has_scope("notes:read") && !alice.has_scope("notes:write"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Arc<StoredIdentity>);

/// What is known of it. The principal is kept elsewhere, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredIdentity {
    #[serde(skip, default = "Principal::anonymous")]
    principal: Principal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<Arc<str>>,
    /// None: scopes do not bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<Arc<str>>>,
    /// In seconds after 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

impl Identity {
    /// The identity of a principal that scopes do not bound.
    #[must_use]
    pub fn of(principal: Principal) -> Self {
        Self(Arc::new(StoredIdentity {
            principal,
            issuer: None,
            subject: None,
            client: None,
            scopes: None,
            expires_at: None,
        }))
    }

    /// That of a request without credentials: it has no scopes.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::of(Principal::anonymous()).with_scopes([""; 0])
    }

    /// The same with these scopes and no others (RFC 6749, section 3.3).
    #[must_use]
    pub fn with_scopes<S: Into<Arc<str>>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = scopes.into_iter().map(Into::into).collect();
        self.change(|kept| kept.scopes = Some(scopes))
    }

    /// The same as its issuer names it: the issuer, and the subject there if it is a user.
    #[must_use]
    pub fn named_by(self, issuer: impl Into<Arc<str>>, subject: Option<&str>) -> Self {
        self.change(|kept| {
            kept.issuer = Some(issuer.into());
            kept.subject = subject.map(Arc::from);
        })
    }

    /// The same by way of that OAuth client.
    #[must_use]
    pub fn with_client(self, client: impl Into<Arc<str>>) -> Self {
        self.change(|kept| kept.client = Some(client.into()))
    }

    /// The same until then, to the second: streams that this request opens end some time after
    /// (`auth.stream_grace`).
    #[must_use]
    pub fn until(self, expires_at: SystemTime) -> Self {
        let since = expires_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.change(|kept| kept.expires_at = Some(since.as_secs()))
    }

    fn change(mut self, change: impl FnOnce(&mut StoredIdentity)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Whose sessions, streams, tasks and notebooks the request can reach.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// The issuer of its token (`iss`).
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    /// The user, as the issuer names it (`sub`); `None` if it is a machine's token.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// The OAuth client that the token was issued to (`client_id`, or else `azp`).
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// Its scopes, with those that they imply; `None` if scopes do not bound it.
    pub fn scopes(&self) -> Option<impl Iterator<Item = &str>> {
        let scopes = self.0.scopes.as_ref()?;
        Some(scopes.iter().map(|scope| &**scope))
    }

    /// Whether it has that scope, or is not bounded by scopes.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0
            .scopes
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|own| **own == *scope))
    }

    /// When its token expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.0.expires_at?);
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    }

    /// Whether it is nobody in particular.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.0.principal.as_str().is_empty()
    }

    /// Whether there is more to know of it than its principal.
    pub(crate) fn is_bare(&self) -> bool {
        let StoredIdentity {
            principal: _,
            issuer,
            subject,
            client,
            scopes,
            expires_at,
        } = &*self.0;
        issuer.is_none() && subject.is_none() && client.is_none() && scopes.is_none() && expires_at.is_none()
    }

    /// What is stored of it.
    pub(crate) fn stored(&self) -> Option<&StoredIdentity> {
        (!self.is_bare()).then_some(&*self.0)
    }

    /// That of a principal, with what was stored of it.
    pub(crate) fn restored(principal: Principal, stored: Option<StoredIdentity>) -> Self {
        match stored {
            Some(stored) => Self(Arc::new(StoredIdentity { principal, ..stored })),
            None => Self::of(principal),
        }
    }
}

/// Scopes do not bound it.
impl From<Principal> for Identity {
    fn from(principal: Principal) -> Self {
        Self::of(principal)
    }
}

/// Names no user: this may end up in a log.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Identity {
        Identity::of(Principal("https://idp.example#alice".into()))
    }

    #[test]
    fn what_is_stored_is_all_but_the_principal() {
        let whole = alice()
            .named_by("https://idp.example", Some("alice"))
            .with_client("cli")
            .with_scopes(["a", "b"])
            .until(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let text = serde_json::to_string(&whole.stored()).unwrap();
        assert!(!text.contains("principal"), "{text}");
        let stored: Option<StoredIdentity> = serde_json::from_str(&text).unwrap();
        assert_eq!(Identity::restored(whole.principal().clone(), stored), whole);
        assert!(alice().stored().is_none());
        assert_eq!(Identity::restored(alice().principal().clone(), None), alice());
    }

    #[test]
    fn one_without_scopes_is_bounded_by_none_and_one_with_an_empty_list_has_none() {
        assert!(alice().has_scope("any"));
        assert!(!alice().with_scopes([""; 0]).has_scope("any"));
        assert!(!Identity::anonymous().has_scope("any") && Identity::anonymous().is_anonymous());
    }
}
