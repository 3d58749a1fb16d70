//! The form of a JWT, before its signature is verified: its type, its algorithm, its key and its claims.
//!
//! The result only selects the key to verify with. Headers that contain a key themselves (`jwk`, `jku`, `x5c`, `x5u`)
//! are ignored.

use jsonwebtoken::{Algorithm, Header, dangerous, decode_header};
use serde_json::{Map, Value};

use crate::domain::reason::Reason;

pub(super) type Claims = Map<String, Value>;

pub(super) const KEY_ID_BYTES_MAX: usize = 256;
/// Accepted token types (RFC 7519 §5.1, RFC 9068 §2.1). An issuer signs other types for the same audience with the same
/// keys, such as `OpenID` Connect logout tokens, which do not authenticate a caller.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JwtError {
    Malformed,
    Type,
    Algorithm,
    KeyUnnamed,
    KeyUnknown,
    KeysUnavailable,
    Signature,
    Issuer,
    Audience,
    Expired,
    NotYetValid,
    LifetimeTooLong,
    Subject,
    Claim,
}

impl JwtError {
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::KeysUnavailable => Reason::Overloaded,
            _ => Reason::CredentialsInvalid,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "not a JWT",
            Self::Type => "the type is not that of an access token",
            Self::Algorithm => "the algorithm is not RS256, ES256 or EdDSA",
            Self::KeyUnnamed => "the header has no key id",
            Self::KeyUnknown => "the issuer has no key with this id",
            Self::KeysUnavailable => "the keys of the issuer are unavailable",
            Self::Signature => "the signature is wrong",
            Self::Issuer => "no configured issuer has this issuer and audience",
            Self::Audience => "the audience is wrong, or two configured issuers match",
            Self::Expired => "the token has expired, or has no expiry",
            Self::NotYetValid => "the token is not valid yet",
            Self::LifetimeTooLong => "the lifetime is too long",
            Self::Subject => "the subject cannot be a caller",
            Self::Claim => "a claim has the wrong type",
        }
    }
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
        check_type(&header)?;
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

/// A token with `crit` is refused, because this service understands no critical header (RFC 7515 §4.1.11).
fn check_type(header: &Header) -> Result<(), JwtError> {
    if header.crit.is_some() {
        return Err(JwtError::Malformed);
    }
    match &header.typ {
        Some(name) if !TYPES.contains(&name.to_ascii_lowercase().as_str()) => Err(JwtError::Type),
        _ => Ok(()),
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
