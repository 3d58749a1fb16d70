//! The public keys of an issuer, from a JWK Set (RFC 7517 §5).
//!
//! The type of a key determines its algorithm, not the token: RSA keys verify RS256, P-256 keys ES256, and Ed25519 keys
//! `EdDSA`. All other keys of a set are ignored, as RFC 7517 requires.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{Claims, JwtError, KEY_ID_BYTES_MAX, UnverifiedJwt};

/// Most keys of a set that are examined. Issuers publish a few.
const KEYS_MAX: usize = 100;
/// Shortest modulus of an RSA key, in bytes: 2,048 bits (RFC 7518 §3.3).
const MODULUS_BYTES_MIN: usize = 256;
/// Longest modulus, in bytes: 8,192 bits. It bounds the cost of verifying a signature.
const MODULUS_BYTES_MAX: usize = 1_024;
/// Bytes of a coordinate of P-256 (RFC 7518 §6.2.1.2), and of an Ed25519 key (RFC 8032 §5.1.5).
const POINT_BYTES: usize = 32;

pub(super) struct KeySet {
    keys: Vec<Key>,
    pub(super) ignored_count: usize,
}

struct Key {
    id: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Parses a set. A set without usable keys is valid.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let raw: RawSet = serde_json::from_slice(bytes).ok()?;
        let count = raw.keys.len();
        let mut keys: Vec<Key> = Vec::new();
        for value in raw.keys.into_iter().take(KEYS_MAX) {
            let key = serde_json::from_value(value).ok().as_ref().and_then(key);
            // Of two keys with the same id and algorithm the first is used.
            keys.extend(key.filter(|key| {
                let is_same = |known: &Key| known.id == key.id && known.algorithm == key.algorithm;
                !keys.iter().any(is_same)
            }));
        }
        Some(Self {
            ignored_count: count - keys.len(),
            keys,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn verify(&self, token: &UnverifiedJwt<'_>) -> Result<Claims, JwtError> {
        let is_named = |key: &&Key| key.id == token.key_id && key.algorithm == token.algorithm;
        let key = self.keys.iter().find(is_named);
        let key = key.ok_or(JwtError::KeyUnknown)?;
        // The library verifies only the signature. For claims it would read the system clock and accept other types.
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<Claims>(token.token, &key.decoding, &validation)
            .map(|verified| verified.claims)
            .map_err(|_| JwtError::Signature)
    }
}

/// Converts a key that can verify signatures of one of the three algorithms.
fn key(raw: &RawKey) -> Option<Key> {
    let verifies = |operations: &Vec<String>| operations.iter().any(|name| name == "verify");
    let is_for_signatures = raw.usage.as_ref().is_none_or(|usage| usage == "sig")
        && raw.key_ops.as_ref().is_none_or(verifies);
    let has_id = (1..=KEY_ID_BYTES_MAX).contains(&raw.kid.len());
    if !is_for_signatures || !has_id {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    let is_point = |bytes: &Vec<u8>| bytes.len() == POINT_BYTES;
    let is_alg = |names: &[&str]| raw.alg.as_deref().is_none_or(|alg| names.contains(&alg));
    let (algorithm, decoding) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) if is_alg(&["RS256"]) => {
            let (modulus, exponent) = (bytes(&raw.n)?, bytes(&raw.e)?);
            let is_valid = (MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&modulus.len());
            let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
            (Algorithm::RS256, is_valid.then_some(key)?)
        }
        ("EC", Some("P-256")) if is_alg(&["ES256"]) => {
            let x = bytes(&raw.x).filter(is_point)?;
            let y = bytes(&raw.y).filter(is_point)?;
            // An uncompressed point (SEC 1 §2.3.3).
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            (Algorithm::ES256, DecodingKey::from_ec_der(&point))
        }
        ("OKP", Some("Ed25519")) if is_alg(&["EdDSA", "Ed25519"]) => {
            let x = bytes(&raw.x).filter(is_point)?;
            (Algorithm::EdDSA, DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    Some(Key {
        id: raw.kid.clone(),
        algorithm,
        decoding,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counts(keys: &Value) -> (usize, usize) {
        let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
        (set.len(), set.ignored_count)
    }

    #[test]
    fn unusable_keys_are_ignored() {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let good = [
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "2", "x": x, "alg": "EdDSA", "use": "sig"}),
            json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": x, "key_ops": ["verify"]}),
            json!({"kty": "RSA", "kid": "1", "n": n, "e": "AQAB", "alg": "RS256", "x5c": ["x"]}),
        ];
        assert_eq!(counts(&json!(good)), (4, 0));
        let bad = [
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "AAAA"}),
            json!({"kty": "OKP", "crv": "X25519", "kid": "1", "x": x}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "", "x": x}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": 1, "x": x}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x, "use": "enc"}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x, "key_ops": ["sign"]}),
            json!({"kty": "EC", "crv": "P-384", "kid": "1", "x": x, "y": x}),
            json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": x}),
            json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": x, "alg": "HS256"}),
            json!({"kty": "RSA", "kid": "1", "n": n, "e": "AQAB", "alg": "PS256"}),
            json!({"kty": "RSA", "kid": "1", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"}),
            json!({"kty": "RSA", "kid": "1", "n": n}),
            json!({"kty": "oct", "kid": "1", "k": x, "alg": "HS256"}),
            json!({"kty": "ML-DSA", "kid": "1"}),
            json!({"kid": "1"}),
            json!(7),
        ];
        assert_eq!(counts(&json!(bad)), (0, bad.len()));
    }

    #[test]
    fn duplicate_keys_and_keys_over_the_limit_are_ignored() {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let key = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x});
        assert_eq!(counts(&json!([key("1"), key("1")])), (1, 1));
        let many: Vec<_> = (0..1_000).map(|index| key(&index.to_string())).collect();
        assert_eq!(counts(&json!(many)), (KEYS_MAX, 1_000 - KEYS_MAX));
    }

    #[test]
    fn malformed_sets_are_refused() {
        for text in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"keys": {}}"#,
            r#"{"keys": []"#,
        ] {
            assert!(KeySet::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(counts(&json!([])), (0, 0));
    }
}
