//! What a client is told whose credentials are not enough.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

/// How long a client should wait when the store is away, a limit is reached, or credentials cannot be checked, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u64 = 1;

/// What a request without the right credentials is answered: a status, `WWW-Authenticate` (RFC 9110, 11.6.1),
/// and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    kind: Kind,
    www_authenticate: Option<HeaderValue>,
    words: Cow<'static, str>,
    /// All the scopes of the operation, when some are missing.
    scopes: Vec<String>,
    /// Whether the token was good once.
    expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unauthorized,
    /// There is a token, and it does not count.
    InvalidToken,
    /// A token stands where none may.
    BadAuthorization,
    Forbidden,
    InsufficientScope,
    Unavailable,
    /// Who has issued a token cannot be asked; so many seconds later it may.
    IssuerUnreachable(u64),
}

impl Challenge {
    /// 401: there are no credentials, or they are not valid. `www_authenticate` says which are wanted, such as
    /// `Bearer realm="example"`. What is not a header's value is left out.
    #[must_use]
    pub fn unauthorized(www_authenticate: &str) -> Self {
        let words =
            "credentials are missing or not valid: send Authorization: Bearer with a token of this server";
        Self::new(Kind::Unauthorized, Some(www_authenticate), words)
    }

    /// 403: the credentials are valid, and do not allow this. `www_authenticate` says what would, such as
    /// `Bearer error="insufficient_scope", scope="notes:write"` (RFC 6750, section 3.1).
    #[must_use]
    pub fn forbidden(www_authenticate: Option<&str>) -> Self {
        let words = "your credentials do not allow this: ask for others";
        Self::new(Kind::Forbidden, www_authenticate, words)
    }

    /// 503: the credentials cannot be checked now, because what knows them is out of reach.
    #[must_use]
    pub fn unavailable() -> Self {
        let words = "your credentials cannot be checked now: try again shortly";
        Self::new(Kind::Unavailable, None, words)
    }

    /// 401: there is a token, and it does not count.
    #[must_use]
    pub(crate) fn invalid_token(www_authenticate: &str) -> Self {
        let words = "the token is not valid: sign in again";
        Self::new(Kind::InvalidToken, Some(www_authenticate), words)
    }

    /// The same of a token that was good and has expired.
    #[must_use]
    pub(crate) fn of_expired(self) -> Self {
        Self {
            expired: true,
            ..self
        }
    }

    /// Whether credentials, if there were any, may have been guessed.
    #[must_use]
    pub(crate) const fn may_be_guess(&self) -> bool {
        matches!(self.kind, Kind::Unauthorized | Kind::InvalidToken) && !self.expired
    }

    /// 400: a token stands in the URL.
    #[must_use]
    pub(crate) fn in_query() -> Self {
        let words = "a token in the URL is not taken, for URLs are logged: send it as Authorization: Bearer, and \
                     take this one for known to others";
        let challenge = "Bearer realm=\"anynode\", error=\"invalid_request\"";
        Self::new(Kind::BadAuthorization, Some(challenge), words)
    }

    /// 403: scopes are missing, of which `needed` are all of the operation.
    #[must_use]
    pub(crate) fn insufficient_scope(www_authenticate: &str, needed: &[String]) -> Self {
        let words = "the token lacks scopes that this needs: ask its issuer for one that has all of those in data.scopes";
        Self {
            scopes: needed.to_vec(),
            ..Self::new(Kind::InsufficientScope, Some(www_authenticate), words)
        }
    }

    /// 503: the issuer of a token is out of reach. Never 401: the client would throw a good token away.
    #[must_use]
    pub(crate) fn issuer_unreachable(retry_after: Duration) -> Self {
        let words = "the token's issuer is out of reach, so the token cannot be checked now: send the request again shortly";
        Self::new(Kind::IssuerUnreachable(retry_after.as_secs()), None, words)
    }

    /// The same in other words: what is wrong, and what to do.
    #[must_use]
    pub fn in_words(mut self, words: impl Into<Cow<'static, str>>) -> Self {
        self.words = words.into();
        self
    }

    fn new(kind: Kind, www_authenticate: Option<&str>, words: &'static str) -> Self {
        Self {
            kind,
            www_authenticate: www_authenticate.and_then(|value| HeaderValue::from_str(value).ok()),
            words: words.into(),
            scopes: Vec::new(),
            expired: false,
        }
    }

    /// What the client is told.
    #[must_use]
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// `WWW-Authenticate`.
    #[must_use]
    pub(crate) const fn www_authenticate(&self) -> Option<&HeaderValue> {
        self.www_authenticate.as_ref()
    }

    /// The HTTP status.
    #[must_use]
    pub(crate) const fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Unauthorized | Kind::InvalidToken => StatusCode::UNAUTHORIZED,
            Kind::BadAuthorization => StatusCode::BAD_REQUEST,
            Kind::Forbidden | Kind::InsufficientScope => StatusCode::FORBIDDEN,
            Kind::Unavailable | Kind::IssuerUnreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label used in metrics.
    #[must_use]
    pub(crate) const fn label(&self) -> &'static str {
        match self.kind {
            Kind::Unauthorized => "unauthorized",
            Kind::InvalidToken => "invalid_token",
            Kind::BadAuthorization => "bad_authorization",
            Kind::InsufficientScope => "insufficient_scope",
            Kind::IssuerUnreachable(_) => "issuer_unreachable",
            Kind::Forbidden => "forbidden",
            Kind::Unavailable => "credentials_unchecked",
        }
    }

    /// How many seconds later the same request may succeed, if it may.
    #[must_use]
    pub(crate) const fn retry_after_seconds(&self) -> Option<u64> {
        match self.kind {
            Kind::Unavailable => Some(RETRY_AFTER_SECONDS),
            Kind::IssuerUnreachable(seconds) => Some(seconds),
            _ => None,
        }
    }

    /// All the scopes of the operation, when some are missing.
    #[must_use]
    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }
}
