//! Reads the settings of `[auth]`: URLs of issuers, scopes, digests of tokens.

use ::config::ValueKind;
use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use url::{Host, Url};

use super::{ExpectedWords, list, text};

/// What begins a digest of a token.
const DIGEST_BEGINS: &str = "sha256:";
/// How many hexadecimal digits follow.
const DIGEST_DIGITS: usize = 64;
/// How many issuers there may be. Each has a key set of its own.
const ISSUERS_MAX: usize = 8;
/// How long an introspection client and its secret may be, in characters.
const CLIENT_CHARS_MAX: usize = 1024;
/// The signature algorithms that can be taken.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];
/// How many scopes one setting may name: a challenge names those of two, in a header.
const SCOPES_MAX: usize = 32;
/// How long a scope may be.
const SCOPE_BYTES_MAX: usize = 64; // 2 x 32 x 64 bytes = 4 KiB a challenge
/// Scopes that belong to the conversation between a client and its issuer, and never to a resource
/// (2026-07-28, Authorization, "Scope Selection Strategy").
const SCOPES_OF_ISSUERS: [&str; 2] = ["openid", "offline_access"];

/// Digests of tokens, several for rotation.
pub(in crate::config) fn token_hashes(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected = "sha256: and 64 hexadecimal digits, as `mcp-server token NAME` prints it; several separated by commas";
    let digests = list(value, expected, |_any| true)?;
    let good = |digest: &String| {
        digest.strip_prefix(DIGEST_BEGINS).is_some_and(|digits| {
            digits.len() == DIGEST_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    // What is not a digest may be the token itself, and is not repeated.
    match !digests.is_empty() && digests.iter().all(good) {
        true => Ok(digests.iter().map(|digest| digest.to_ascii_lowercase()).collect()),
        false => Err(expected.to_owned()),
    }
}

/// The URL of this server.
pub(in crate::config) fn resource(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = "the URL by which clients reach this server, such as https://mcp.example.com/mcp, without query and \
                    fragment, or empty for none";
    text(value, expected, |resource| {
        resource.is_empty() || web_url(resource).is_some_and(|url| url.query().is_none())
    })
}

pub(in crate::config) fn issuers(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected = "a list of issuers such as https://idp.example.com/realms/main (https, or http on this machine), \
                    without query and fragment";
    let issuers = list(value, expected, |issuer| {
        is_safe(issuer) && Url::parse(issuer).is_ok_and(|url| url.query().is_none())
    })?;
    match issuers.len() > ISSUERS_MAX {
        true => Err(format!("at most {ISSUERS_MAX} issuers")),
        false => Ok(issuers),
    }
}

pub(in crate::config) fn audiences(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected = "a list of audiences, such as client ids: visible ASCII characters";
    list(value, expected, is_visible)
}

/// A URL that this node asks.
pub(in crate::config) fn endpoint(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected =
        "a URL such as https://idp.example.com/keys (https, or http on this machine), or empty for none";
    text(value, expected, |url| url.is_empty() || is_safe(url))
}

pub(in crate::config) fn algorithms(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected = format!("a list of {}", ALGORITHMS.join(", "));
    let algorithms = list(value, &expected, |name| ALGORITHMS.contains(&name))?;
    match algorithms.is_empty() {
        true => Err(expected),
        false => Ok(algorithms),
    }
}

pub(in crate::config) fn scopes(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected =
        "a list of scopes, such as mcp:tools; openid and offline_access are between clients and issuers";
    let scopes = match value {
        // As they stand in tokens and challenges.
        ValueKind::String(text) if !text.contains(',') => {
            let spaced: Vec<&str> = text.split_whitespace().collect();
            list(&ValueKind::String(spaced.join(",")), expected, is_scope)
        }
        _ => list(value, expected, is_scope),
    }?;
    match scopes.len() > SCOPES_MAX {
        true => Err(format!("at most {SCOPES_MAX} scopes")),
        false => Ok(scopes),
    }
}

/// One scope, or none.
pub(in crate::config) fn scope(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = "one scope, such as mcp:write, or empty for none";
    text(value, expected, |scope| scope.is_empty() || is_scope(scope))
}

/// The name or secret of a client of the introspection endpoint.
pub(in crate::config) fn client(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = format!("at most {CLIENT_CHARS_MAX} visible ASCII characters, or empty for none");
    text(value, &expected, |text| {
        text.len() <= CLIENT_CHARS_MAX && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    })
}

/// The name of a header, in lower case.
pub(in crate::config) fn header(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected =
        "the name of a header that your proxy sets, such as x-auth-request-user, or empty for none";
    let never = [AUTHORIZATION, COOKIE, HOST];
    let name = text(value, expected, |name| {
        name.is_empty()
            || name
                .parse::<HeaderName>()
                .is_ok_and(|name| !never.contains(&name))
    })?;
    Ok(name.to_ascii_lowercase())
}

/// RFC 6749, section 3.3.
fn is_scope(scope: &str) -> bool {
    let of_scope = |b: u8| b == b'!' || (b'#'..=b'[').contains(&b) || (b']'..=b'~').contains(&b);
    (1..=SCOPE_BYTES_MAX).contains(&scope.len())
        && scope.bytes().all(of_scope)
        && !SCOPES_OF_ISSUERS.contains(&scope)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let good = ["https", "http"].contains(&url.scheme()) && url.has_host() && url.fragment().is_none();
    let plain = url.username().is_empty() && url.password().is_none() && is_visible(text);
    (good && plain).then_some(url)
}

/// Whether nobody on the way can change what that URL answers: https, or this machine.
fn is_safe(text: &str) -> bool {
    web_url(text).is_some_and(|url| {
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        url.scheme() == "https" || local
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(text: &str) -> ValueKind {
        ValueKind::String(text.to_owned())
    }

    #[test]
    fn issuers_are_asked_where_nobody_can_listen_in() {
        for good in [
            "https://idp.example.com",
            "https://idp.example.com/realms/main/",
            "http://127.0.0.1:4600",
            "http://localhost:4600/a",
            "http://[::1]:4600",
        ] {
            assert_eq!(issuers(&text_of(good)), Ok(vec![good.to_owned()]), "{good}");
        }
        for bad in [
            "http://idp.example.com",
            "https://idp.example.com/#x",
            "https://idp.example.com/?a=b",
            "https://user:secret@idp.example.com",
            "idp.example.com",
            "ftp://127.0.0.1",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
        ] {
            assert!(issuers(&text_of(bad)).is_err(), "{bad}");
        }
        let nine = ["https://idp.example.com"; 9].join(",");
        assert!(issuers(&text_of(&nine)).is_err());
    }

    #[test]
    fn scopes_are_separated_by_commas_or_as_in_tokens() {
        for list in [
            "mcp:tools,mcp:write",
            "mcp:tools mcp:write",
            " mcp:tools, mcp:write ",
        ] {
            let read = scopes(&text_of(list));
            assert_eq!(
                read,
                Ok(vec!["mcp:tools".to_owned(), "mcp:write".to_owned()]),
                "{list}"
            );
        }
        for bad in [
            "a \"quoted\"",
            "openid",
            "a,offline_access",
            "back\\slash",
            "ümlaut",
        ] {
            assert!(scopes(&text_of(bad)).is_err(), "{bad}");
        }
        assert_eq!(scopes(&text_of("")), Ok(vec![]));
    }

    #[test]
    fn a_token_that_stands_where_its_digest_should_is_not_repeated() {
        let digest = format!("sha256:{}", "aB".repeat(32));
        let read = token_hashes(&text_of(&digest));
        assert_eq!(read, Ok(vec![digest.to_ascii_lowercase()]));
        for bad in ["hunter2hunter2hunter2", "sha256:12", ""] {
            let refused = token_hashes(&text_of(bad));
            assert!(
                refused.is_err_and(|words| bad.is_empty() || !words.contains(bad)),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_header_of_the_proxy_is_none_that_clients_need() {
        assert_eq!(
            header(&text_of("X-Auth-Request-User")),
            Ok("x-auth-request-user".into())
        );
        for bad in ["authorization", "Cookie", "host", "a b", "a:b"] {
            assert!(header(&text_of(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_url_of_this_server_is_a_whole_url() {
        for good in [
            "",
            "https://mcp.example.com/mcp",
            "http://10.0.0.1:3000",
            "https://a.example/x/mcp",
        ] {
            assert!(resource(&text_of(good)).is_ok(), "{good}");
        }
        for bad in [
            "mcp.example.com",
            "/mcp",
            "https://a.example/mcp?x=1",
            "https://a.example/#",
            "urn:a:b",
        ] {
            assert!(resource(&text_of(bad)).is_err(), "{bad}");
        }
    }
}
