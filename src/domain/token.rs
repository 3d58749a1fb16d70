//! Invitation tokens: the secret in an invitation's link. It is derived from the row and a key, and stored nowhere.
//!
//! ```text
//! msg    "invitations/accept/v1\0" ‖ SHA-256(organization_id) ‖ id[16] ‖ u32be(generation) ‖ nonce[16]
//!        ‖ SHA-256(email_normalized)
//! token  "inv1_" ‖ base64url-nopad( 0x01 ‖ kid[1] ‖ id[16] ‖ HMAC-SHA256(K[kid], msg)[32] )
//! ```
//!
//! A token names the row and the key to check it with. The organization, the address and the role are taken from the
//! row.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::keyring::{KEY_BYTES, Keyring, Purpose};

pub const TOKEN_CHARACTERS: usize = 72;
pub const NONCE_BYTES: usize = 16;

const PREFIX: &str = "inv1_";
const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"invitations/accept/v1\0";
const MAC_BYTES: usize = 32;
const PAYLOAD_BYTES: usize = 2 + 16 + MAC_BYTES;

/// The parts of a row to which a token is bound. After a change of any part all older tokens are invalid.
#[derive(Clone, Copy)]
pub struct TokenSubject<'a> {
    pub organization_id: &'a str,
    pub invitation_id: Uuid,
    /// How often the link was rotated.
    pub generation: u32,
    /// A random nonce for each generation, so that the key alone cannot forge a token.
    pub nonce: [u8; NONCE_BYTES],
    pub email_normalized: &'a str,
}

/// A well-formed token. [`Token::matches`] checks whether it is genuine.
#[derive(Clone)]
pub struct Token {
    version: u8,
    kid: u8,
    invitation_id: Uuid,
    mac: [u8; MAC_BYTES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is malformed")]
pub struct TokenParseError;

impl Token {
    /// Derives the token of a subject. Returns `None` if the keyring has no key `kid`.
    pub fn derive(ring: &Keyring, kid: u8, subject: &TokenSubject<'_>) -> Option<Self> {
        Some(Self {
            version: VERSION,
            kid,
            invitation_id: subject.invitation_id,
            mac: mac(&ring.derive(kid, Purpose::Accept)?, subject),
        })
    }

    /// Parses a token: exact length, prefix and canonical base64url. It may still be forged.
    pub fn parse(text: &str) -> Result<Self, TokenParseError> {
        if text.len() != TOKEN_CHARACTERS {
            return Err(TokenParseError);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenParseError)?;
        let payload = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| TokenParseError)?;
        let payload: [u8; PAYLOAD_BYTES] = payload.try_into().map_err(|_| TokenParseError)?;
        let token = Self::from_payload(&payload);
        // Trailing bits that decode to nothing would allow several spellings of one token.
        if token.reveal() == text {
            Ok(token)
        } else {
            Err(TokenParseError)
        }
    }

    pub const fn invitation_id(&self) -> Uuid {
        self.invitation_id
    }

    /// Whether the token was derived from this subject with the key of the row. Takes the same time in both cases.
    pub fn matches(&self, ring: &Keyring, row_kid: u8, subject: &TokenSubject<'_>) -> bool {
        let key = ring.derive(row_kid, Purpose::Accept);
        let expected = mac(&key.unwrap_or([0; KEY_BYTES]), subject);
        let is_same = self.mac.ct_eq(&expected)
            & self.kid.ct_eq(&row_kid)
            & self.version.ct_eq(&VERSION)
            & self
                .invitation_id
                .as_bytes()
                .ct_eq(subject.invitation_id.as_bytes());
        bool::from(is_same) && key.is_some()
    }

    /// Does the same work as [`Token::matches`] for a row that does not exist, so that the duration reveals nothing.
    pub fn verify_dummy(&self, ring: &Keyring) {
        let dummy = TokenSubject {
            organization_id: "",
            invitation_id: Uuid::nil(),
            generation: 0,
            nonce: [0; NONCE_BYTES],
            email_normalized: "",
        };
        let _ = self.matches(ring, ring.active(), &dummy);
    }

    /// The token as text. It is secret: only the email and callers with the scope `invitations:link` may contain it.
    pub fn reveal(&self) -> String {
        let mut payload = [0; PAYLOAD_BYTES];
        payload[0] = self.version;
        payload[1] = self.kid;
        payload[2..18].copy_from_slice(self.invitation_id.as_bytes());
        payload[18..].copy_from_slice(&self.mac);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(payload))
    }

    fn from_payload(payload: &[u8; PAYLOAD_BYTES]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&payload[2..18]);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&payload[18..]);
        Self {
            version: payload[0],
            kid: payload[1],
            invitation_id: Uuid::from_bytes(id),
            mac,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

fn mac(key: &[u8; KEY_BYTES], subject: &TokenSubject<'_>) -> [u8; MAC_BYTES] {
    Hmac::<Sha256>::new_from_slice(key)
        .expect("HMAC accepts keys of any length")
        .chain_update(CONTEXT)
        .chain_update(Sha256::digest(subject.organization_id))
        .chain_update(subject.invitation_id.as_bytes())
        .chain_update(subject.generation.to_be_bytes())
        .chain_update(subject.nonce)
        .chain_update(Sha256::digest(subject.email_normalized))
        .finalize()
        .into_bytes()
        .into()
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
