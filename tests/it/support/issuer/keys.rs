//! Keys that tests sign tokens with, and what an issuer publishes of them.

use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// As it stands in a token's header.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A pair of keys under a name.
#[derive(Debug)]
pub(crate) struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    Elliptic(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl SigningKey {
    /// A new pair. Those of RSA take `openssl` a tenth of a second.
    pub(crate) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(RsaKeyPair::from_pkcs8(&rsa_pkcs8()).expect("a key that ring takes"))
            }
            Algorithm::Es256 | Algorithm::Es384 => {
                let curve = if algorithm == Algorithm::Es256 {
                    &ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &ECDSA_P384_SHA384_FIXED_SIGNING
                };
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
                let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random);
                Pair::Elliptic(pair.expect("the key that was just made"))
            }
            Algorithm::EdDsa => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                Pair::Edwards(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("the key that was just made"))
            }
        };
        Self {
            kid: kid.into(),
            algorithm,
            pair,
        }
    }

    /// Its name.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What is published of it (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = json!({"kid": self.kid, "alg": self.algorithm.name(), "use": "sig"});
        let parts = match &self.pair {
            Pair::Rsa(pair) => {
                let key: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": encode(&key.n), "e": encode(&key.e)})
            }
            Pair::Elliptic(pair) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(self.coordinate_bytes());
                let curve = if self.algorithm == Algorithm::Es256 {
                    "P-256"
                } else {
                    "P-384"
                };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Edwards(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        for (name, value) in parts.as_object().expect("an object") {
            jwk[name] = value.clone();
        }
        jwk
    }

    /// The public key in the forms that a confused verifier may take for the secret of an HMAC.
    pub(crate) fn public_forms(&self) -> Vec<Vec<u8>> {
        let der = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Elliptic(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Edwards(pair) => pair.public_key().as_ref().to_vec(),
        };
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(&der)
        );
        let jwk = self.jwk();
        let number = jwk.get("n").or_else(|| jwk.get("x")).expect("a public part");
        let number = number.as_str().expect("text").as_bytes().to_vec();
        vec![der, pem.into_bytes(), jwk.to_string().into_bytes(), number]
    }

    /// The signature of `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn ring::signature::RsaEncoding = if self.algorithm == Algorithm::Rs256 {
                    &RSA_PKCS1_SHA256
                } else {
                    &RSA_PSS_SHA256
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::Elliptic(pair) => pair
                .sign(&random, message)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Pair::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn coordinate_bytes(&self) -> usize {
        if self.algorithm == Algorithm::Es256 {
            32
        } else {
            48
        }
    }
}

/// What may stand in a set of keys beside those that sign, none of which verifies anything.
pub(crate) fn odd_jwks() -> Vec<Value> {
    static OTHER: OnceLock<Value> = OnceLock::new();
    let other = OTHER.get_or_init(|| SigningKey::new("other", Algorithm::Es256).jwk());
    let with = |name: &str, value: Value| {
        let mut jwk = other.clone();
        jwk["kid"] = format!("odd-{name}").into();
        jwk[name] = value;
        jwk
    };
    let mut nameless = other.clone();
    nameless.as_object_mut().expect("an object").remove("kid");
    vec![
        with("kty", json!("LWE")),
        with("crv", json!("P-999")),
        with("use", json!("enc")),
        with("key_ops", json!(["encrypt"])),
        with("d", json!(encode(&[7; 32]))), // a private key that was published
        with("x", json!("not base64url!")),
        with("y", json!(encode(&[1; 32]))), // a point beside the curve
        with("alg", json!(7)),
        json!({"kty": "oct", "kid": "odd-oct", "alg": "HS256", "k": encode(&[7; 32])}),
        json!({"kty": "RSA", "kid": "odd-short", "alg": "RS256", "n": encode(&[255; 64]), "e": "AQAB"}),
        nameless,
        json!({}),
        json!("not even an object"),
        Value::Null,
    ]
}

/// So many keys under names of their own, none of which signs anything here.
pub(crate) fn other_jwks(count: usize) -> Vec<Value> {
    let jwk = SigningKey::new("other", Algorithm::Es256).jwk();
    let named = |number| {
        let mut jwk = jwk.clone();
        jwk["kid"] = format!("other-{number}").into();
        jwk
    };
    (0..count).map(named).collect()
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// ring makes no keys of RSA. As PEM, because openssl's DER has another form in some versions.
fn rsa_pkcs8() -> Vec<u8> {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("openssl runs; else: apt-get install openssl, or run `make setup`");
    assert!(
        made.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let pem = String::from_utf8(made.stdout).expect("text");
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).expect("base64")
}
