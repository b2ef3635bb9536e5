//! The bearer tokens of the settings, by their digests.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::cache::Verified;
use crate::config::AuthSettings;
use crate::random::{self, HashMap};
use crate::session::{Identity, Principal};

/// What begins a token that this program makes, so that scanners for secrets know it.
const PREFIX: &str = "anynode_";
/// How many random bytes it has.
const RANDOM_BYTES: usize = 32;

/// A token that nobody can guess.
pub(crate) fn fresh_token() -> String {
    let random: [u8; RANDOM_BYTES] = random::bytes();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// The SHA-256 of a token. Tokens are random, so it need not be slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// That of a token.
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The one that settings write so.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(digit(2 * at)? * 16 + digit(2 * at + 1)?).ok()?;
        }
        (digits.len() == 64).then_some(Self(bytes))
    }
}

/// As settings write it.
impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The tokens of `auth.tokens` and `auth.token_hashes`. They are looked up by their digest, so that the time it takes tells nothing of
/// how much of one was right.
pub(super) struct StaticTokens(HashMap<TokenDigest, Identity>);

impl StaticTokens {
    /// Those of the settings.
    pub(super) fn new(auth: &AuthSettings) -> Self {
        let plain = auth
            .tokens
            .iter()
            .map(|(who, token)| (TokenDigest::of(token), who));
        let hashed = auth.token_hashes.iter().flat_map(|(who, digests)| {
            let read = digests.iter().filter_map(|digest| TokenDigest::parse(digest));
            read.map(move |digest| (digest, who))
        });
        let named = |(digest, who): (TokenDigest, &String)| (digest, Principal(who.as_str().into()).into());
        Self(plain.chain(hashed).map(named).collect())
    }

    /// The principal that a token stands for.
    pub(super) fn find(&self, token: &str) -> Option<Verified> {
        if self.0.is_empty() {
            return None;
        }
        Some(Verified {
            identity: self.0.get(&TokenDigest::of(token))?.clone(),
            valid_for: Duration::MAX,
            keys: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_token_is_found_by_itself_or_by_its_digest() {
        let (old, new) = (fresh_token(), fresh_token());
        assert!(old != new && old.len() == PREFIX.len() + 43, "{old}");
        let digests = [&old, &new]
            .map(|token| TokenDigest::of(token).to_string())
            .to_vec();
        let tokens = StaticTokens::new(&AuthSettings {
            tokens: BTreeMap::from([("alice".to_owned(), "a-long-enough-token".to_owned())]),
            token_hashes: BTreeMap::from([("bob".to_owned(), digests)]),
            ..AuthSettings::default()
        });
        let who = |token: &str| {
            tokens
                .find(token)
                .map(|found| found.identity.principal().as_str().to_owned())
        };
        assert_eq!(who("a-long-enough-token").as_deref(), Some("alice"));
        assert_eq!(
            (who(&old).as_deref(), who(&new).as_deref()),
            (Some("bob"), Some("bob"))
        );
        assert_eq!(
            who(&TokenDigest::of(&old).to_string()),
            None,
            "a digest is no token"
        );
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = TokenDigest::of("token");
        assert_eq!(TokenDigest::parse(&digest.to_string()), Some(digest));
        for bad in [
            "",
            "sha256:",
            "sha256:zz",
            &format!("{digest}0"),
            &digest.to_string()[7..],
        ] {
            assert_eq!(TokenDigest::parse(bad), None, "{bad}");
        }
    }
}
