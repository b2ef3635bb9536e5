//! A token as a test wants it: any header, any claims, any signature.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::{Map, Value, json};

use super::keys::{SigningKey, encode};

/// How long a token is good if the test does not say.
const LIFE_SECONDS: i64 = 600;

/// What will be a token.
#[derive(Debug, Clone)]
pub(crate) struct TokenDraft {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signature: Signature,
}

#[derive(Debug, Clone)]
enum Signature {
    Of(Arc<SigningKey>),
    Hmac(Vec<u8>),
    None,
}

impl TokenDraft {
    /// One that a server takes that trusts the issuer.
    pub(super) fn new(issuer: &str, audience: &str, key: Arc<SigningKey>) -> Self {
        let claims = json!({
            "iss": issuer,
            "aud": audience,
            "sub": "alice",
            "client_id": "a-client",
            "scope": "mcp:tools",
            "jti": encode(&rand::random::<[u8; 16]>()),
            "iat": now(),
            "exp": now() + LIFE_SECONDS,
        });
        let Value::Object(claims) = claims else {
            unreachable!("an object");
        };
        let mut draft = Self {
            header: Map::new(),
            claims,
            signature: Signature::None,
        };
        draft = draft.header("typ", "at+jwt");
        draft.signed_by(key)
    }

    /// The same for another user.
    #[must_use]
    pub(crate) fn sub(self, sub: &str) -> Self {
        self.claim("sub", sub)
    }

    /// The same with these scopes, separated by spaces.
    #[must_use]
    pub(crate) fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// The same for another audience: a text, or a list.
    #[must_use]
    pub(crate) fn aud(self, aud: impl Into<Value>) -> Self {
        self.claim("aud", aud)
    }

    /// The same that ends so many seconds from now, or has ended.
    #[must_use]
    pub(crate) fn ends_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// The same that is good only so many seconds from now.
    #[must_use]
    pub(crate) fn begins_in(self, seconds: i64) -> Self {
        self.claim("nbf", now() + seconds)
    }

    /// The same with this claim.
    #[must_use]
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// The same without this claim.
    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// The same with this in its header.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// The same without this in its header.
    #[must_use]
    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// The same signed by this key, which the header names. A header that says something else comes after.
    #[must_use]
    pub(crate) fn signed_by(mut self, key: Arc<SigningKey>) -> Self {
        self = self
            .header("alg", key.algorithm().name())
            .header("kid", key.kid());
        self.signature = Signature::Of(key);
        self
    }

    /// The same with no signature, and a header that says so.
    #[must_use]
    pub(crate) fn unsigned(mut self) -> Self {
        self.signature = Signature::None;
        self.header("alg", "none")
    }

    /// The same with an HMAC under this secret.
    #[must_use]
    pub(crate) fn hs256(mut self, secret: &[u8]) -> Self {
        self.signature = Signature::Hmac(secret.to_vec());
        self.header("alg", "HS256")
    }

    /// What introspection tells of it.
    pub(super) fn claims(self) -> Map<String, Value> {
        self.claims
    }

    /// The token.
    pub(crate) fn text(&self) -> String {
        let part = |value: &Map<String, Value>| encode(&serde_json::to_vec(value).expect("JSON"));
        let message = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = match &self.signature {
            Signature::Of(key) => key.sign(message.as_bytes()),
            Signature::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            Signature::None => Vec::new(),
        };
        format!("{message}.{}", encode(&signature))
    }
}

/// The token with one bit of its signature changed.
pub(crate) fn tampered(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    // Not the last letter, of which some bits are padding.
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{message}.{first}{}", &signature[1..])
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time that fits")
}
