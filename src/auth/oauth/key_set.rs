//! The public keys of an issuer (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// How many keys an issuer may have.
const KEYS_MAX: usize = 64;
/// Members of a key that only its owner may know (RFC 7518, sections 6.2.2, 6.3.2 and 6.4): what has one is no public key.
const PRIVATE: [&str; 2] = ["d", "k"];

/// Why a document is no key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    /// It has another shape.
    #[error("it is no key set (RFC 7517): {0}")]
    Malformed(#[source] serde_json::Error),
    /// It has too many keys.
    #[error("it has {0} keys, and {KEYS_MAX} at most are taken")]
    TooMany(usize),
}

/// The keys of an issuer that can verify signatures.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct IssuerKeys(Vec<Key>);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    kind: KeyKind,
    /// The key as it was written, by which two are the same.
    written: String,
    pub(super) decoding: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, self.algorithm, self.kind, &self.written)
            == (&other.id, other.algorithm, other.kind, &other.written)
    }
}

impl Eq for Key {}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl IssuerKeys {
    /// Reads a key set. Keys of kinds that cannot verify are left out: one odd key must not take the others away.
    pub(super) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let Document { keys } = serde_json::from_slice(document).map_err(KeySetError::Malformed)?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(keys.len()));
        }
        Ok(Self(keys.into_iter().filter_map(Key::read).collect()))
    }

    /// The key that a token names, for that algorithm. A token that names none is verified only where one key
    /// alone fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| key.fits(algorithm));
        match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn read(written: Value) -> Option<Self> {
        if PRIVATE.iter().any(|member| written.get(member).is_some()) {
            return None;
        }
        let text = written.to_string();
        let jwk: Jwk = serde_json::from_value(written).ok()?;
        let common = &jwk.common;
        let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let verifies = common.key_operations.as_ref();
        if !signs || verifies.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return None;
        }
        let algorithm = match common.key_algorithm {
            Some(named) => Some(Algorithm::try_from(named).ok()?),
            None => None,
        };
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => KeyKind::Rsa,
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => KeyKind::P256,
                EllipticCurve::P384 => KeyKind::P384,
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                KeyKind::Ed25519
            }
            _ => return None,
        };
        Some(Self {
            id: common.key_id.clone(),
            algorithm,
            kind,
            written: text,
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }

    /// Whether a signature of that algorithm may be this key's: of the one that the key names, or else of one for its
    /// kind.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let of_kind = match algorithm {
            Algorithm::ES256 => self.kind == KeyKind::P256,
            Algorithm::ES384 => self.kind == KeyKind::P384,
            Algorithm::EdDSA => self.kind == KeyKind::Ed25519,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => self.kind == KeyKind::Rsa,
            _ => false,
        };
        of_kind && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Coordinates of a point of P-256, and some modulus: whether they are good keys is not the question here.
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const N: &str = "vxo6bVZK0s0vPY1aaIUyKUvd2TCFtaYmEfE1I9fZVQ";

    fn ec(id: &str) -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": X, "y": X, "kid": id })
    }

    fn rsa(id: &str) -> Value {
        json!({ "kty": "RSA", "n": N, "e": "AQAB", "kid": id })
    }

    fn set(keys: &[Value]) -> IssuerKeys {
        IssuerKeys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    /// T19: one odd key leaves the rest as it is.
    #[test]
    fn keys_that_cannot_verify_are_left_out() {
        let odd = [
            json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "symmetric" }),
            json!({ "kty": "AKP", "pub": "x" }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": X, "y": X }),
            json!({ "kty": "EC", "crv": "P-521", "x": X, "y": X }),
            json!("not a key"),
            json!({}),
            with(ec("enc"), "use", json!("enc")),
            with(ec("private"), "d", json!(X)),
            with(rsa("wrap"), "key_ops", json!(["wrapKey"])),
            with(rsa("oaep"), "alg", json!("RSA-OAEP")),
            json!({ "kty": "RSA", "n": "not base64!", "e": "AQAB" }),
        ];
        let good = [ec("good"), with(rsa("also"), "use", json!("sig"))];
        let all = set(&[&odd[..], &good[..]].concat());
        assert_eq!(all.len(), 2);
        assert!(all.find(Some("good"), Algorithm::ES256).is_some());
        assert!(all.find(Some("also"), Algorithm::PS256).is_some());
    }

    #[test]
    fn a_key_verifies_its_own_algorithm_only() {
        let keys = set(&[with(rsa("a"), "alg", json!("RS256")), ec("b")]);
        assert!(keys.find(Some("a"), Algorithm::RS256).is_some());
        for (id, algorithm) in [
            ("a", Algorithm::PS256),
            ("a", Algorithm::ES256),
            ("b", Algorithm::RS256),
            ("b", Algorithm::ES384),
            ("b", Algorithm::HS256),
            ("c", Algorithm::RS256),
        ] {
            assert!(keys.find(Some(id), algorithm).is_none(), "{id} {algorithm:?}");
        }
    }

    #[test]
    fn a_token_without_key_id_is_verified_where_one_key_alone_fits() {
        let one = set(&[ec("a"), rsa("b")]);
        assert!(one.find(None, Algorithm::ES256).is_some());
        assert!(set(&[ec("a"), ec("b")]).find(None, Algorithm::ES256).is_none());
        assert!(set(&[]).find(None, Algorithm::ES256).is_none());
    }

    #[test]
    fn what_is_no_key_set_is_refused_and_so_is_one_of_too_many() {
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(
                matches!(IssuerKeys::parse(bad.as_bytes()), Err(KeySetError::Malformed(_))),
                "{bad}"
            );
        }
        let many: Vec<_> = (0..=KEYS_MAX).map(|id| ec(&id.to_string())).collect();
        let refused = IssuerKeys::parse(json!({ "keys": many }).to_string().as_bytes());
        assert!(matches!(refused, Err(KeySetError::TooMany(65))));
    }

    /// T18: the same id with another key is another key.
    #[test]
    fn two_sets_are_the_same_if_their_keys_are() {
        assert_eq!(set(&[ec("a")]), set(&[ec("a")]));
        assert_ne!(set(&[ec("a")]), set(&[with(ec("a"), "y", json!(N))]));
    }
}
