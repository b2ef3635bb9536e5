//! An issuer's metadata: where it is, and what of it counts (RFC 8414; OpenID Connect Discovery 1.0).

use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::fetch::{FetchError, Fetcher, is_this_machine};

/// Why the keys of an issuer cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    /// No document was there.
    #[error("its metadata cannot be read: {0}")]
    Fetch(#[from] FetchError),
    /// It has another shape.
    #[error("its metadata is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is somebody else's.
    #[error("its metadata names another issuer")]
    OtherIssuer,
    /// It says that keys are where nobody can be sure whose they are.
    #[error("its metadata names a jwks_uri that is no URL, or neither https nor on this machine")]
    UnsafeKeys,
}

/// What counts of it.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    /// Where the keys are.
    pub(super) keys_url: Url,
    /// All of it, as the issuer wrote it.
    pub(super) document: Bytes,
}

#[derive(Deserialize)]
struct IssuerDocument {
    issuer: String,
    jwks_uri: String,
}

/// The places where an issuer's metadata may be (2025-11-25, Authorization, "Authorization Server Metadata
/// Discovery"). Many issuers know only the last.
pub(super) fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let places = [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    let mut urls: Vec<Url> = Vec::with_capacity(places.len());
    for place in places {
        let mut url = issuer.clone();
        url.set_path(&place);
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// Finds the metadata of an issuer.
pub(super) async fn find(fetcher: &Fetcher, issuer: &str, places: &[Url]) -> Result<Metadata, MetadataError> {
    let mut first = None;
    for place in places {
        let read = match fetcher.get(place).await {
            Ok(fetched) => read(issuer, fetched.body),
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(metadata) => return Ok(metadata),
            // It answers nowhere else either.
            Err(MetadataError::Fetch(error)) if error.is_out_of_reach() => return Err(error.into()),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(MetadataError::OtherIssuer))
}

pub(super) fn read(issuer: &str, document: Bytes) -> Result<Metadata, MetadataError> {
    let IssuerDocument {
        issuer: named,
        jwks_uri,
    } = serde_json::from_slice(&document)?;
    // Byte for byte (RFC 8414, section 3.3): else one issuer could give keys for another.
    if named != issuer {
        return Err(MetadataError::OtherIssuer);
    }
    let jwks_uri: Url = jwks_uri.parse().map_err(|_error| MetadataError::UnsafeKeys)?;
    match jwks_uri.scheme() == "https" || (jwks_uri.scheme() == "http" && is_this_machine(&jwks_uri)) {
        true => Ok(Metadata {
            keys_url: jwks_uri,
            document,
        }),
        false => Err(MetadataError::UnsafeKeys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_in_three_places() {
        let of = |issuer: &str| -> Vec<String> {
            let places = places(&issuer.parse().unwrap());
            places.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            of("https://idp.example/realms/main"),
            [
                "https://idp.example/.well-known/oauth-authorization-server/realms/main",
                "https://idp.example/.well-known/openid-configuration/realms/main",
                "https://idp.example/realms/main/.well-known/openid-configuration",
            ]
        );
        assert_eq!(of("https://idp.example/").len(), 2);
    }

    #[test]
    fn only_the_issuers_own_metadata_counts() {
        let read = |issuer: &str, keys: &str| {
            let document = format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#);
            read("https://idp.example", document.into())
        };
        assert!(read("https://idp.example", "https://keys.example/a").is_ok());
        assert!(read("https://idp.example", "http://127.0.0.1:1/a").is_ok());
        let other = read("https://idp.example/", "https://keys.example/a");
        assert!(matches!(other, Err(MetadataError::OtherIssuer)));
        for keys in ["http://keys.example/a", "file:///etc/keys", "not a url"] {
            let refused = read("https://idp.example", keys);
            assert!(matches!(refused, Err(MetadataError::UnsafeKeys)), "{keys}");
        }
    }
}
