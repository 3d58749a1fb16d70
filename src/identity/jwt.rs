//! A JWT before anything of it is believed: its form, the key it names, and whose it claims to be.
//!
//! What is decided here only chooses where to look for a key. Headers that would bring a key of their own (`jwk`, `jku`,
//! `x5c`, `x5u`) are not read.

use jsonwebtoken::{Algorithm, Header, dangerous, decode_header};
use serde_json::{Map, Value};

use crate::domain::reason::Reason;

/// What a token says, by name.
pub(super) type Claims = Map<String, Value>;

/// Longest name of a key, in bytes.
pub(super) const KEY_ID_BYTES_MAX: usize = 256;
/// The types of token that can be presented here (RFC 7519 §5.1, RFC 9068 §2.1). An issuer signs others for the same
/// audience with the same keys, such as the logout tokens of `OpenID` Connect, and none of them says who calls.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
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

impl Fault {
    /// What the caller is told.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::KeysUnavailable => Reason::Overloaded,
            _ => Reason::CredentialsInvalid,
        }
    }

    /// What the log is told.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "not a JWT",
            Self::Type => "not a type of token that says who calls",
            Self::Algorithm => "not one of RS256, ES256 and EdDSA",
            Self::KeyUnnamed => "names no key",
            Self::KeyUnknown => "names a key that its issuer does not have",
            Self::KeysUnavailable => "the keys of its issuer cannot be had",
            Self::Signature => "the signature is wrong",
            Self::Issuer => "of no configured issuer and audience",
            Self::Audience => "not for this service, or for two of its tables",
            Self::Expired => "expired, or does not say when it does",
            Self::NotYetValid => "not valid yet",
            Self::LifetimeTooLong => "lives too long",
            Self::Subject => "names no subject that could be a caller",
            Self::Claim => "a claim has the wrong type",
        }
    }
}

/// A token whose form is right.
pub(super) struct Unverified<'token> {
    /// The whole token.
    pub(super) token: &'token str,
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// With which key.
    pub(super) key_id: String,
    /// What it says. Nobody has vouched for that.
    pub(super) claims: Claims,
}

impl<'token> Unverified<'token> {
    /// Looks at the form of a token.
    pub(super) fn parse(token: &'token str) -> Result<Self, Fault> {
        let header = decode_header(token).map_err(|_| Fault::Malformed)?;
        check_type(&header)?;
        // RS256, ES256 and EdDSA alone: what is signed with a shared secret or not at all could be anybody's.
        if !matches!(
            header.alg,
            Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA
        ) {
            return Err(Fault::Algorithm);
        }
        let key_id = header.kid.ok_or(Fault::KeyUnnamed)?;
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX {
            return Err(Fault::KeyUnnamed);
        }
        let claims =
            dangerous::insecure_decode_claims::<Claims>(token).map_err(|_| Fault::Malformed)?;
        Ok(Self {
            token,
            algorithm: header.alg,
            key_id,
            claims,
        })
    }
}

/// `crit` names what must be understood, and none of it is (RFC 7515 §4.1.11).
fn check_type(header: &Header) -> Result<(), Fault> {
    if header.crit.is_some() {
        return Err(Fault::Malformed);
    }
    match &header.typ {
        Some(name) if !TYPES.contains(&name.to_ascii_lowercase().as_str()) => Err(Fault::Type),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn fault(header: &Value) -> Option<Fault> {
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let token = format!("{}.{}.c2ln", encoded(header), encoded(&json!({"sub": "a"})));
        Unverified::parse(&token).err()
    }

    #[test]
    fn only_the_three_algorithms_with_a_named_key_pass() {
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            assert_eq!(fault(&json!({"alg": algorithm, "kid": "1"})), None);
        }
        for algorithm in ["HS256", "HS512", "RS384", "PS256", "ES384"] {
            let header = json!({"alg": algorithm, "kid": "1"});
            assert_eq!(fault(&header), Some(Fault::Algorithm), "{algorithm}");
        }
        for (header, expected) in [
            (json!({"alg": "none", "kid": "1"}), Fault::Malformed),
            (json!({"alg": "None"}), Fault::Malformed),
            (json!({"kid": "1"}), Fault::Malformed),
            (json!({"alg": "ES256"}), Fault::KeyUnnamed),
            (json!({"alg": "ES256", "kid": ""}), Fault::KeyUnnamed),
            (
                json!({"alg": "ES256", "kid": "x".repeat(257)}),
                Fault::KeyUnnamed,
            ),
            (json!({"alg": "ES256", "kid": 1}), Fault::Malformed),
            (
                json!({"alg": "ES256", "kid": "1", "crit": ["b64"]}),
                Fault::Malformed,
            ),
            (
                json!({"alg": "ES256", "kid": "1", "typ": "logout+jwt"}),
                Fault::Type,
            ),
        ] {
            assert_eq!(fault(&header), Some(expected), "{header}");
        }
        assert_eq!(
            fault(&json!({"alg": "ES256", "kid": "1", "typ": "at+JWT"})),
            None
        );
    }

    #[test]
    fn what_is_not_three_parts_of_json_is_no_token() {
        for token in ["", "..", "a.b.c", "e30.e30", "e30.e30.e30.e30", "e30.W10.x"] {
            assert_eq!(
                Unverified::parse(token).err(),
                Some(Fault::Malformed),
                "{token}"
            );
        }
    }
}
