//! `[auth]`: who may use the server, and how that is found out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::mask;

/// `[auth]`
#[derive(Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// Bearer tokens, by the principal each stands for.
    pub tokens: BTreeMap<String, String>,
    /// Digests of bearer tokens (`sha256:` and 64 hexadecimal digits), by the principal they stand for.
    pub token_hashes: BTreeMap<String, Vec<String>>,
    /// The URL by which clients know this server (RFC 8707, RFC 9728). Needed with issuers.
    pub resource: String,
    /// The issuers whose tokens are taken (RFC 8414), each exactly as its tokens name it.
    pub issuers: Vec<String>,
    /// What a token's `aud` may name besides [`resource`](Self::resource).
    pub audiences: Vec<String>,
    /// Where the issuer's keys are, if not where its metadata says.
    pub keys_url: String,
    /// PEM file with the authorities to trust when issuers are asked.
    pub ca_file: Option<PathBuf>,
    /// The signature algorithms that are taken (RFC 7518, section 3.1).
    pub algorithms: Vec<String>,
    /// The scopes that every request needs.
    pub scopes: Vec<String>,
    /// The scopes that a tool needs besides, by the tool's name; `*` for tools that are not named.
    pub tool_scopes: BTreeMap<String, Vec<String>>,
    /// The scope that tools need besides which do not say that they only read (`readOnlyHint`). Empty for none.
    pub write_scope: String,
    /// The scopes that a scope stands for besides itself.
    pub scope_implies: BTreeMap<String, Vec<String>>,
    /// By how much an issuer's clock and this node's may differ.
    pub clock_skew: Duration,
    /// How long keys are used before they are fetched again.
    pub keys_fresh: Duration,
    /// How long keys are trusted while they cannot be fetched.
    pub keys_stale: Duration,
    /// How many verified tokens this node keeps.
    pub cache_max: usize,
    /// Where opaque tokens are asked about (RFC 7662). Empty: they are not taken.
    pub introspection_url: String,
    /// The client that asks there.
    pub introspection_client: String,
    /// That client's secret.
    pub introspection_secret: String,
    /// How long an answer from there is used.
    pub introspection_fresh: Duration,
    /// How long a stream outlives the token that opened it.
    pub stream_grace: Duration,
    /// Whether the first issuer's metadata is served here too, for clients of 2025-03-26.
    pub mirror: bool,
    /// The header in which a trusted proxy names the principal. Empty for none.
    pub proxy_header: String,
    /// Whether requests without credentials are served, as those of nobody in particular.
    pub optional: bool,
}

impl AuthSettings {
    /// Whether these settings name any credentials that a client can send.
    pub(crate) fn knows_credentials(&self) -> bool {
        !(self.tokens.is_empty()
            && self.token_hashes.is_empty()
            && self.issuers.is_empty()
            && self.proxy_header.is_empty())
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            tokens: BTreeMap::new(),
            token_hashes: BTreeMap::new(),
            resource: String::new(),
            issuers: vec![],
            audiences: vec![],
            keys_url: String::new(),
            ca_file: None,
            algorithms: ["RS256", "PS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            scopes: vec![],
            tool_scopes: BTreeMap::new(),
            write_scope: String::new(),
            scope_implies: BTreeMap::new(),
            clock_skew: Duration::from_secs(60),
            keys_fresh: Duration::from_secs(10 * 60),
            keys_stale: Duration::from_secs(24 * 60 * 60),
            cache_max: 10_000, // x 1.5 KiB = 15 MiB, for tokens of 1 KiB
            introspection_url: String::new(),
            introspection_client: String::new(),
            introspection_secret: String::new(),
            introspection_fresh: Duration::from_secs(30),
            stream_grace: Duration::from_secs(60),
            mirror: false,
            proxy_header: String::new(),
            optional: false,
        }
    }
}

// Debug output ends up in logs: it must not show credentials.
impl fmt::Debug for AuthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let principals: Vec<_> = self.tokens.keys().chain(self.token_hashes.keys()).collect();
        f.debug_struct("AuthSettings")
            .field("principals", &principals)
            .field("resource", &self.resource)
            .field("issuers", &self.issuers)
            .field("audiences", &self.audiences)
            .field("scopes", &self.scopes)
            .field("introspection_url", &self.introspection_url)
            .field("introspection_secret", &mask(&self.introspection_secret))
            .field("proxy_header", &self.proxy_header)
            .field("optional", &self.optional)
            .finish_non_exhaustive()
    }
}
