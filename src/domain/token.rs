//! Invitation tokens: the secret in an invitation's link. It is derived from the row and a key, and stored nowhere.
//!
//! ```text
//! msg    "invitations/accept/v1\0" ‖ SHA-256(organization_id) ‖ id[16] ‖ u32be(generation) ‖ nonce[16]
//!        ‖ SHA-256(email_normalized)
//! token  "inv1_" ‖ base64url-nopad( 0x01 ‖ kid[1] ‖ id[16] ‖ HMAC-SHA256(K[kid], msg)[32] )
//! ```

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
#[derive(Clone, Copy, Default)]
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
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TOKEN_CHARACTERS {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let payload: [u8; PAYLOAD_BYTES] = payload.try_into().ok()?;
        let token = Self {
            version: payload[0],
            kid: payload[1],
            invitation_id: Uuid::from_slice(&payload[2..18]).expect("16 bytes"),
            mac: payload[18..].try_into().expect("32 bytes"),
        };
        // Trailing bits that decode to nothing would allow several spellings of one token.
        (token.reveal() == text).then_some(token)
    }

    pub const fn invitation_id(&self) -> Uuid {
        self.invitation_id
    }

    /// Whether the token was derived from this subject with the key of the row. Takes the same time in both cases.
    pub fn matches(&self, ring: &Keyring, row_kid: u8, subject: &TokenSubject<'_>) -> bool {
        let key = ring.derive(row_kid, Purpose::Accept);
        let expected = mac(&key.unwrap_or([0; KEY_BYTES]), subject);
        let id = subject.invitation_id.as_bytes();
        let is_same = self.mac.ct_eq(&expected)
            & self.kid.ct_eq(&row_kid)
            & self.version.ct_eq(&VERSION)
            & self.invitation_id.as_bytes().ct_eq(id);
        bool::from(is_same) && key.is_some()
    }

    /// Does the same work as [`Token::matches`] for a row that does not exist, so that the duration reveals nothing.
    pub fn verify_dummy(&self, ring: &Keyring) {
        let _ = self.matches(ring, ring.active(), &TokenSubject::default());
    }

    /// The token as text. It is secret: only the email and callers with the scope `invitations:link` may contain it.
    pub fn reveal(&self) -> String {
        let id = self.invitation_id.as_bytes().as_slice();
        let payload = [&[self.version, self.kid], id, &self.mac].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(payload))
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
