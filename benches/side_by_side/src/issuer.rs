//! An authorization server that does just what a node asks of one: it tells of itself, and publishes a key. The load makes the
//! tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What nodes are to be reached at, as tokens name it.
pub const RESOURCE: &str = "https://mcp.example.com/mcp";
/// How long a token is good: longer than any run.
const LIFE_SECONDS: u64 = 24 * 60 * 60;
/// So many groups make a token of 1 KB.
const GROUPS: usize = 40;
/// How long the two numbers of a signature are.
const SIGNATURE_BYTES: usize = 64;

/// A running issuer. It ends when dropped.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    _served: JoinSet<()>,
}

impl Issuer {
    /// One on this machine, with a new key for ES256.
    ///
    /// # Errors
    /// When there is no port for it, or no key.
    pub async fn start() -> anyhow::Result<Self> {
        let key = new_key()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let document = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        });
        // An uncompressed point: 4, x, y.
        let (x, y) = key.public_key().as_ref()[1..].split_at(SIGNATURE_BYTES / 2);
        let jwk = json!({
            "kid": "key-1", "alg": "ES256", "use": "sig", "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)
        });
        let keys = json!({ "keys": [jwk] });
        let routes = Router::new()
            .route(
                "/.well-known/oauth-authorization-server",
                get(move || async move { Json(document) }),
            )
            .route("/jwks", get(move || async move { Json(keys) }));
        let mut served = JoinSet::new();
        served.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the issuer has ended: {error}");
            }
        });
        Ok(Self {
            url,
            key,
            _served: served,
        })
    }

    /// Settings of a node that trusts it.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        vec![
            ("MCP_AUTH__RESOURCE".into(), RESOURCE.into()),
            ("MCP_AUTH__ISSUERS".into(), self.url.clone()),
        ]
    }

    /// A token of this user. Two calls make two tokens, of the same length if the users' names are as long.
    ///
    /// # Errors
    /// When nothing is random.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        let message = self.message("key-1", user)?;
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.map_err(|_unsaid| anyhow::anyhow!("no signature"))?;
        Ok(format!("{message}.{}", encode(signature.as_ref())))
    }

    /// A token that somebody has made up: it names a key of this length that there may be, and its signature is random.
    ///
    /// # Errors
    /// When nothing is random.
    pub fn forged(&self, kid: &str, user: &str) -> anyhow::Result<String> {
        let message = self.message(kid, user)?;
        Ok(format!(
            "{message}.{}",
            encode(&random_bytes::<SIGNATURE_BYTES>()?)
        ))
    }

    fn message(&self, kid: &str, user: &str) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let groups: Vec<_> = (0..GROUPS).map(|group| format!("group-{group:02}")).collect();
        let claims = json!({
            "iss": self.url,
            "aud": RESOURCE,
            "sub": user,
            "client_id": "side-by-side",
            "scope": "mcp:tools mcp:write",
            "jti": encode(&random_bytes::<16>()?),
            "iat": now,
            "exp": now + LIFE_SECONDS,
            "groups": groups,
        });
        let header = json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"});
        let part = |value: &Value| encode(value.to_string().as_bytes());
        Ok(format!("{}.{}", part(&header), part(&claims)))
    }
}

fn new_key() -> anyhow::Result<EcdsaKeyPair> {
    let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random);
    let pkcs8 = pkcs8.map_err(|_unsaid| anyhow::anyhow!("no key"))?;
    let key = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random);
    key.map_err(|error| anyhow::anyhow!("no key: {error}"))
}

/// A text of so many letters, digits, `-` and `_` that nobody can guess.
///
/// # Errors
/// When nothing is random.
pub fn random_text(length: usize) -> anyhow::Result<String> {
    let mut bytes = vec![0; length];
    fill(&mut bytes)?;
    let mut text = encode(&bytes);
    text.truncate(length);
    Ok(text)
}

fn random_bytes<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> anyhow::Result<()> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_unsaid| anyhow::anyhow!("nothing is random"))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tokens_are_a_kilobyte_each_as_long_as_the_other_and_all_different() {
        let issuer = Issuer::start().await.unwrap();
        let tokens = [
            issuer.token("user00001").unwrap(),
            issuer.token("user00001").unwrap(),
            issuer.forged("key-1", "user00002").unwrap(),
            issuer.forged("key-2", "user00002").unwrap(),
        ];
        let lengths = tokens.each_ref().map(String::len);
        assert_eq!(lengths, [lengths[0]; 4]);
        assert!((1000..1050).contains(&lengths[0]), "{lengths:?}");
        assert_ne!(tokens[0], tokens[1]);
        assert_eq!(random_text(48).unwrap().len(), 48);
    }
}
