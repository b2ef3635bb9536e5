//! Checks of `[auth]` that look at more than one setting.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::config::{AuthSettings, Settings};

/// What begins the names of principals that no token stands for.
const TAKEN: [&str; 2] = ["cert:", "proxy:"];

/// What is wrong: the setting, the other one that it does not fit, and what was expected.
pub(super) fn problems(settings: &Settings) -> Vec<(String, String, String)> {
    let auth = &settings.auth;
    let mut found = Vec::new();
    let mut report = |wrong: bool, name: &str, other: &str, expected: &str| {
        if wrong {
            found.push((name.to_owned(), other.to_owned(), format!("expected {expected}")));
        }
    };
    let (issuers, has_issuers) = ("auth.issuers", !auth.issuers.is_empty());
    report(
        has_issuers && auth.resource.is_empty(),
        issuers,
        "auth.resource",
        "auth.resource to be set too: a token counts only if it is meant for this server",
    );
    report(
        !auth.keys_url.is_empty() && auth.issuers.len() != 1,
        "auth.keys_url",
        issuers,
        "exactly one of auth.issuers, whose keys these are",
    );
    let asks = !auth.introspection_url.is_empty();
    let first = "auth.issuers to name the issuer first that is asked there";
    report(asks && !has_issuers, "auth.introspection_url", issuers, first);
    report(
        asks && auth.introspection_client.is_empty(),
        "auth.introspection_url",
        "auth.introspection_client",
        "auth.introspection_client to be set too: the endpoint answers only clients that it knows (RFC 7662, section 2.1)",
    );
    report(
        auth.mirror && !has_issuers,
        "auth.mirror",
        issuers,
        "auth.issuers to name an issuer first",
    );
    report(
        auth.keys_stale < auth.keys_fresh,
        "auth.keys_stale",
        "auth.keys_fresh",
        "at least auth.keys_fresh",
    );
    report(
        !auth.proxy_header.is_empty() && settings.http.trusted_proxies.is_empty(),
        "auth.proxy_header",
        "http.trusted_proxies",
        "http.trusted_proxies to name the proxy: else anybody could send that header",
    );
    found.extend(names(auth));
    found.extend(shared(auth));
    found
}

/// Principals whose names could be those of others.
fn names(auth: &AuthSettings) -> impl Iterator<Item = (String, String, String)> {
    let tokens = auth.tokens.keys().map(|name| ("auth.tokens", name));
    let hashes = auth.token_hashes.keys().map(|name| ("auth.token_hashes", name));
    let bad = |name: &str| {
        name.is_empty()
            || name.contains('#')
            || name.contains("://")
            || TAKEN.iter().any(|taken| name.starts_with(taken))
    };
    let bad = tokens.chain(hashes).filter(move |(_, name)| bad(name));
    bad.map(|(family, name)| {
        let setting = format!("{family}.{name}");
        let expected = "expected the name of a principal without '#' and \"://\", that does not begin with cert: or \
                        proxy:, because such names are those of users of issuers, certificates and proxies";
        (setting.clone(), setting, expected.to_owned())
    })
}

/// Tokens that stand for two principals.
fn shared(auth: &AuthSettings) -> Vec<(String, String, String)> {
    let plain = auth.tokens.iter().map(|(name, token)| {
        let digits: String = Sha256::digest(token)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (format!("auth.tokens.{name}"), name, format!("sha256:{digits}"))
    });
    let hashed = auth.token_hashes.iter().flat_map(|(name, digests)| {
        let of_each = move |digest: &String| (format!("auth.token_hashes.{name}"), name, digest.clone());
        digests.iter().map(of_each)
    });
    let mut owners: BTreeMap<String, (String, &String)> = BTreeMap::new();
    let mut found = Vec::new();
    for (setting, name, digest) in plain.chain(hashed) {
        match owners.get(&digest) {
            Some((other, owner)) if *owner != name => found.push((
                setting,
                other.clone(),
                format!("expected a token of its own: {owner} has the same"),
            )),
            Some(_) => {}
            None => drop(owners.insert(digest, (setting, name))),
        }
    }
    found
}
