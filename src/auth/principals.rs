//! The names of principals. Sessions, tasks and notebooks belong to a name, so two principals never have the same.
//!
//! | who | name |
//! |---|---|
//! | a user of an issuer | `<iss>#<sub>` |
//! | a machine: a client in its own name | `<iss>##<client_id>` |
//! | a client certificate | `cert:<name>` |
//! | the user that a proxy names | `proxy:<name>` |
//! | a token of the settings | its name there, which holds no `#` and begins with neither |
//!
//! An issuer has no `#` (RFC 8414, section 2), and in what follows it `#` and `%` are escaped. So what is after the first `#`
//! begins with another only where this server has put it.

use sha2::{Digest as _, Sha256};

use crate::session::Principal;

/// The longest name. What would be longer is known by its digest.
const NAME_BYTES_MAX: usize = 512;

/// The user of an issuer.
pub(crate) fn user(issuer: &str, subject: &str) -> Principal {
    within(issuer, format!("{issuer}#{}", escaped(subject)))
}

/// A client of an issuer that acts in its own name.
pub(crate) fn machine(issuer: &str, client: &str) -> Principal {
    within(issuer, format!("{issuer}##{}", escaped(client)))
}

/// The holder of a client certificate.
pub(crate) fn certificate(name: &str) -> Principal {
    within("", format!("cert:{}", escaped(name)))
}

/// The user that a trusted proxy names.
pub(crate) fn by_proxy(name: &str) -> Principal {
    within("", format!("proxy:{}", escaped(name)))
}

fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('#', "%23")
}

fn within(issuer: &str, name: String) -> Principal {
    if name.len() <= NAME_BYTES_MAX {
        return Principal(name.into());
    }
    let digest: String = Sha256::digest(&name)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let issuer = if issuer.len() < NAME_BYTES_MAX - digest.len() {
        issuer
    } else {
        ""
    };
    Principal(format!("{issuer}###{digest}").into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const IDP: &str = "https://idp.example";

    #[test]
    fn names_are_of_this_shape() {
        assert_eq!(user(IDP, "alice").as_str(), "https://idp.example#alice");
        assert_eq!(machine(IDP, "cli").as_str(), "https://idp.example##cli");
        assert_eq!(user(IDP, "a#b%23").as_str(), "https://idp.example#a%23b%2523");
        assert_eq!(certificate("spiffe://a/b").as_str(), "cert:spiffe://a/b");
        assert_eq!(by_proxy("a#b").as_str(), "proxy:a%23b");
    }

    /// T8, T9: two are never one, also if a client registers itself under the name of a user.
    #[test]
    fn no_two_have_the_same_name() {
        let odd = [
            "",
            "a",
            "#a",
            "##a",
            "a#",
            "%23a",
            "%",
            "%25",
            "a##b",
            "https://idp.example#a",
        ];
        let long = ["x".repeat(600), format!("#{}", "x".repeat(600)), "y".repeat(600)];
        let parts: Vec<&str> = odd.into_iter().chain(long.iter().map(String::as_str)).collect();
        let mut seen = HashSet::new();
        for part in parts {
            for issuer in [IDP, "https://idp.example/", "https://other.example"] {
                for name in [user(issuer, part), machine(issuer, part)] {
                    assert!(name.as_str().len() <= NAME_BYTES_MAX);
                    assert!(seen.insert(name.clone()), "{name:?}");
                }
            }
            for name in [certificate(part), by_proxy(part)] {
                assert!(seen.insert(name.clone()), "{name:?}");
            }
        }
    }
}
