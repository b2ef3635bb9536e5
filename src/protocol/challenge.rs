//! What a client is told whose credentials are not enough.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};

/// What a request without the right credentials is answered: a status, `WWW-Authenticate` (RFC 9110, 11.6.1),
/// and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    kind: Kind,
    www_authenticate: Option<HeaderValue>,
    words: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unauthorized,
    Forbidden,
    Unavailable,
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
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label used in metrics.
    #[must_use]
    pub(crate) const fn label(&self) -> &'static str {
        match self.kind {
            Kind::Unauthorized => "unauthorized",
            Kind::Forbidden => "forbidden",
            Kind::Unavailable => "credentials_unchecked",
        }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Unavailable)
    }
}
