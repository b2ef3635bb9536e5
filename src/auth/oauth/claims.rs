//! What a token says: its header and its claims (RFC 7519, RFC 9068), each of the right type or refused.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::super::cache::Verified;
use super::super::denied::Flaw;
use super::super::principals;
use crate::session::Identity;

/// How many scopes of a token are read.
const SCOPES_MAX: usize = 256;
/// A token of these kinds is for its client or its issuer, and is no access token. (`typ` of the claims, as Keycloak writes
/// it.)
const OTHER_KINDS: [&str; 5] = ["id", "refresh", "offline", "logout", "dpop"];
/// What an access token calls itself in its header, if anything (RFC 9068, section 2.1).
const ACCESS_TOKEN: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// A token, taken apart. Nothing of it is proven.
pub(super) struct Jwt<'a> {
    pub(super) text: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// Who has issued it, as it says.
    pub(super) issuer: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
}

#[derive(Deserialize)]
struct IssuerClaim {
    iss: String,
}

/// Whether a member is there, with any value.
fn present<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_any| true)
}

/// Whether a text has the shape of a JWT: three parts, of which the first is a JSON object.
pub(super) fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let (head, three) = (parts.next(), parts.clone().count() == 2);
    let object = || part::<serde_json::Map<String, serde_json::Value>>(head.unwrap_or_default());
    three && object().is_some()
}

fn part<T: DeserializeOwned>(encoded: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

impl<'a> Jwt<'a> {
    /// Takes a token apart whose algorithm is one of these.
    pub(super) fn read(text: &'a str, algorithms: &[Algorithm]) -> Result<Self, Flaw> {
        let mut parts = text.split('.');
        let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let header: Header = part(header).ok_or(Flaw::Malformed)?;
        // Only this server's settings say where keys are.
        if header.crit || header.jku || header.jwk || header.x5u {
            return Err(Flaw::Malformed);
        }
        let kind = header.typ.map(|kind| kind.to_ascii_lowercase());
        if kind.is_some_and(|kind| !ACCESS_TOKEN.contains(&&*kind)) {
            return Err(Flaw::Malformed);
        }
        let algorithm = header.alg.parse().ok().filter(|named| algorithms.contains(named));
        let IssuerClaim { iss } = part(claims).ok_or(Flaw::Malformed)?;
        Ok(Self {
            text,
            algorithm: algorithm.ok_or(Flaw::Signature)?,
            key_id: header.kid,
            issuer: iss,
        })
    }
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }

    /// The scopes that it names.
    fn scopes(&self) -> impl Iterator<Item = &str> {
        let words = self.all().iter().flat_map(|text| text.split_ascii_whitespace());
        words.take(SCOPES_MAX)
    }
}

/// The claims of an access token, or what an issuer says of an opaque one (RFC 7662, section 2.2).
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    sub: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    scope: Option<OneOrMany>,
    scp: Option<OneOrMany>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    nonce: bool,
    #[serde(default, deserialize_with = "present")]
    at_hash: bool,
    #[serde(default, deserialize_with = "present")]
    cnf: bool,
}

/// What tokens must say.
pub(super) struct ExpectedClaims<'a> {
    pub(super) issuer: &'a str,
    pub(super) audiences: &'a [String],
    pub(super) skew: Duration,
    pub(super) now: SystemTime,
    /// Whether `iss` and `exp` may be missing: an issuer that is asked knows both.
    pub(super) asked: bool,
}

impl Claims {
    /// Who the token stands for, and how long.
    pub(super) fn check(&self, expected: &ExpectedClaims<'_>) -> Result<Verified, Flaw> {
        match &self.iss {
            Some(issuer) if issuer != expected.issuer => return Err(Flaw::Issuer),
            None if !expected.asked => return Err(Flaw::Issuer),
            _ => {}
        }
        let named = self.aud.as_ref().map(OneOrMany::all).unwrap_or_default();
        if !named.iter().any(|audience| expected.audiences.contains(audience)) {
            return Err(Flaw::Audience);
        }
        self.check_kind()?;
        let expires = self.check_times(expected)?;
        let identity = self.identity(expected.issuer)?;
        let left = |expires: SystemTime| {
            let until = expires.checked_add(expected.skew).unwrap_or(expires);
            until.duration_since(expected.now).unwrap_or_default()
        };
        Ok(Verified {
            valid_for: expires.map_or(Duration::MAX, left),
            identity: match expires {
                Some(expires) => identity.until(expires),
                None => identity,
            },
            keys: None,
        })
    }

    /// Refuses tokens that are none for a resource, and those that only count together with a proof that this server does
    /// not check.
    fn check_kind(&self) -> Result<(), Flaw> {
        let kind = self.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        match self.nonce || self.at_hash || self.cnf || OTHER_KINDS.contains(&&*kind) {
            true => Err(Flaw::Malformed),
            false => Ok(()),
        }
    }

    fn check_times(&self, expected: &ExpectedClaims<'_>) -> Result<Option<SystemTime>, Flaw> {
        let (now, skew) = (seconds(expected.now), expected.skew.as_secs_f64());
        let expires = match self.exp {
            Some(at) if at + skew <= now => return Err(Flaw::Expired),
            Some(at) => Some(at),
            None if expected.asked => None,
            None => return Err(Flaw::Malformed),
        };
        let later = |at: Option<f64>| at.is_some_and(|at| at > now + skew);
        match later(self.nbf) || later(self.iat) {
            true => Err(Flaw::Early),
            false => Ok(expires.map(|at| time(at.max(0.0)))),
        }
    }

    fn identity(&self, issuer: &str) -> Result<Identity, Flaw> {
        let client = self.client_id.as_deref().or(self.azp.as_deref());
        let client = client.filter(|client| !client.is_empty());
        let subject = self.sub.as_deref();
        let user = subject.filter(|subject| !subject.is_empty() && Some(*subject) != client);
        let principal = match (user, client) {
            (Some(user), _) => principals::user(issuer, user),
            (None, Some(client)) => principals::machine(issuer, client),
            (None, None) => return Err(Flaw::Malformed),
        };
        let mut scopes: Vec<&str> = Vec::new();
        for scope in [&self.scope, &self.scp]
            .into_iter()
            .flatten()
            .flat_map(OneOrMany::scopes)
        {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        let identity = Identity::of(principal).named_by(issuer, user).with_scopes(scopes);
        Ok(match client {
            Some(client) => identity.with_client(client),
            None => identity,
        })
    }
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// The latest expiry that is told apart; later ones count as this.
const LAST_SECOND: f64 = 253_402_300_799.0; // 9999-12-31T23:59:59Z

fn time(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.clamp(0.0, LAST_SECOND))
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
