//! The form of a JWT, before its signature is verified: its type, its algorithm, its key and its claims.
//!
//! The result only selects the key to verify with. Headers that contain a key themselves (`jwk`, `jku`, `x5c`, `x5u`)
//! are ignored.

use jsonwebtoken::{Algorithm, dangerous, decode_header};
use serde_json::{Map, Value};

pub(super) type Claims = Map<String, Value>;

pub(super) const KEY_ID_BYTES_MAX: usize = 256;
/// Accepted token types (RFC 7519 §5.1, RFC 9068 §2.1). An issuer signs other types for the same audience with the same
/// keys, such as `OpenID` Connect logout tokens, which do not authenticate a caller.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwtError {
    #[error("not a JWT")]
    Malformed,
    #[error("the type is not that of an access token")]
    Type,
    #[error("the algorithm is not RS256, ES256 or EdDSA")]
    Algorithm,
    #[error("the header has no key id")]
    KeyUnnamed,
    #[error("the issuer has no key with this id")]
    KeyUnknown,
    #[error("the keys of the issuer are unavailable")]
    KeysUnavailable,
    #[error("the signature is wrong")]
    Signature,
    #[error("no configured issuer has this issuer and audience")]
    Issuer,
    #[error("the audience is wrong, or two configured issuers match")]
    Audience,
    #[error("the token has expired, or has no expiry")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the lifetime is too long")]
    LifetimeTooLong,
    #[error("the subject cannot be a caller")]
    Subject,
    #[error("a claim has the wrong type")]
    Claim,
}

/// A well-formed token. Nothing of it is verified.
pub(super) struct UnverifiedJwt<'token> {
    pub(super) token: &'token str,
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
    pub(super) claims: Claims,
}

impl<'token> UnverifiedJwt<'token> {
    pub(super) fn parse(token: &'token str) -> Result<Self, JwtError> {
        let header = decode_header(token).map_err(|_| JwtError::Malformed)?;
        // This service understands no critical header (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(JwtError::Malformed);
        }
        let is_type = |name: &String| TYPES.contains(&name.to_ascii_lowercase().as_str());
        if !header.typ.as_ref().is_none_or(is_type) {
            return Err(JwtError::Type);
        }
        // Algorithms with a shared secret or without a signature would allow anybody to make tokens.
        if !matches!(
            header.alg,
            Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA
        ) {
            return Err(JwtError::Algorithm);
        }
        let key_id = header.kid.ok_or(JwtError::KeyUnnamed)?;
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX {
            return Err(JwtError::KeyUnnamed);
        }
        let claims =
            dangerous::insecure_decode_claims::<Claims>(token).map_err(|_| JwtError::Malformed)?;
        Ok(Self {
            token,
            algorithm: header.alg,
            key_id,
            claims,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn error(header: &Value) -> Option<JwtError> {
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let token = format!("{}.{}.c2ln", encoded(header), encoded(&json!({"sub": "a"})));
        UnverifiedJwt::parse(&token).err()
    }

    #[test]
    fn only_the_three_algorithms_with_a_key_id_are_accepted() {
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            assert_eq!(error(&json!({"alg": algorithm, "kid": "1"})), None);
        }
        for algorithm in ["HS256", "HS512", "RS384", "PS256", "ES384"] {
            let header = json!({"alg": algorithm, "kid": "1"});
            assert_eq!(error(&header), Some(JwtError::Algorithm), "{algorithm}");
        }
        for (header, expected) in [
            (json!({"alg": "none", "kid": "1"}), JwtError::Malformed),
            (json!({"alg": "None"}), JwtError::Malformed),
            (json!({"kid": "1"}), JwtError::Malformed),
            (json!({"alg": "ES256"}), JwtError::KeyUnnamed),
            (json!({"alg": "ES256", "kid": ""}), JwtError::KeyUnnamed),
            (
                json!({"alg": "ES256", "kid": "x".repeat(257)}),
                JwtError::KeyUnnamed,
            ),
            (json!({"alg": "ES256", "kid": 1}), JwtError::Malformed),
            (
                json!({"alg": "ES256", "kid": "1", "crit": ["b64"]}),
                JwtError::Malformed,
            ),
            (
                json!({"alg": "ES256", "kid": "1", "typ": "logout+jwt"}),
                JwtError::Type,
            ),
        ] {
            assert_eq!(error(&header), Some(expected), "{header}");
        }
        assert_eq!(
            error(&json!({"alg": "ES256", "kid": "1", "typ": "at+JWT"})),
            None
        );
    }

    #[test]
    fn a_token_must_have_three_parts_of_json() {
        for token in ["", "..", "a.b.c", "e30.e30", "e30.e30.e30.e30", "e30.W10.x"] {
            assert_eq!(
                UnverifiedJwt::parse(token).err(),
                Some(JwtError::Malformed),
                "{token}"
            );
        }
    }
}
