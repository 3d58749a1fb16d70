//! The keyring: master keys, of which the first signs and all verify. Each purpose has derived keys of its own.
//!
//! This module parses the text of a keys file and opens no files.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::named_enum::named_enum;

/// Length of a master key and of every derived key, in bytes.
pub const KEY_BYTES: usize = 32;

named_enum! {
    /// What a derived key is used for, with the context of its derivation. The keys of two purposes are independent.
    pub enum Purpose {
        /// Invitation tokens.
        Accept = "invitations/accept/v1",
        Page = "invitations/page/v1",
        AddressTag = "invitations/address-tag/v1",
        /// Hashes under which the emails to an address are counted.
        AddressQuota = "invitations/address-quota/v1",
        /// Unsubscribe links.
        Unsubscribe = "invitations/unsubscribe/v1",
        Bounce = "invitations/bounce/v1",
        /// A value by which two processes compare the key that each has under one id.
        Check = "invitations/check/v1",
    }
}

/// Prints key ids and never a key.
#[derive(Clone)]
pub struct Keyring {
    active: u8,
    masters: BTreeMap<u8, [u8; KEY_BYTES]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("the keys file holds no key; make one with `invitations key new`")]
    Empty,
    #[error("line {0} of the keys file is not a key id from 0 to 255 and 32 bytes in base64url")]
    Malformed(usize),
    #[error("line {0} of the keys file repeats a key id")]
    Repeated(usize),
}

impl Keyring {
    /// Parses lines of `KID BASE64URL`, the signing key first. `#` starts a comment.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut active = None;
        let mut masters = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (kid, master) = parse_line(line).ok_or(KeyringError::Malformed(number))?;
            if masters.insert(kid, master).is_some() {
                return Err(KeyringError::Repeated(number));
            }
            active.get_or_insert(kid);
        }
        let active = active.ok_or(KeyringError::Empty)?;
        Ok(Self { active, masters })
    }

    /// The id of the signing key.
    pub const fn active(&self) -> u8 {
        self.active
    }

    pub fn key_ids(&self) -> impl Iterator<Item = u8> {
        self.masters.keys().copied()
    }

    /// Derives the key of a purpose (RFC 5869, no salt). Returns `None` if the keyring has no key `kid`.
    pub fn derive(&self, kid: u8, purpose: Purpose) -> Option<[u8; KEY_BYTES]> {
        let master = self.masters.get(&kid)?;
        let mut key = [0; KEY_BYTES];
        Hkdf::<Sha256>::new(None, master)
            .expand(purpose.as_str().as_bytes(), &mut key)
            .expect("HKDF-SHA256 can produce 32 bytes");
        Some(key)
    }

    /// An HMAC-SHA256 with the key of a purpose. Returns `None` if the keyring has no key `kid`.
    pub fn mac(&self, kid: u8, purpose: Purpose) -> Option<Hmac<Sha256>> {
        let key = self.derive(kid, purpose)?;
        Some(Hmac::new_from_slice(&key).expect("HMAC accepts keys of any length"))
    }

    /// The first `N` bytes of the HMAC-SHA256 of a message under the key of a purpose. They prove that the holder of
    /// the keyring made the message. Returns `None` if the keyring has no key `kid`. Panics if `N` is over 32.
    pub fn truncated_hmac<const N: usize>(
        &self,
        kid: u8,
        purpose: Purpose,
        message: &[u8],
    ) -> Option<[u8; N]> {
        let mac = self.mac(kid, purpose)?.chain_update(message);
        let mac = mac.finalize().into_bytes();
        Some(*mac.first_chunk().expect("an HMAC of SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keyring")
            .field("active", &self.active)
            .field("key_ids", &self.masters.keys())
            .finish_non_exhaustive()
    }
}

fn parse_line(line: &str) -> Option<(u8, [u8; KEY_BYTES])> {
    let (kid, encoded) = line.split_once(char::is_whitespace)?;
    let master = URL_SAFE_NO_PAD.decode(encoded.trim()).ok()?;
    Some((kid.parse().ok()?, master.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_signs_and_debug_prints_no_key() {
        let text = "# ring\n7 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\n1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE # old\n";
        let ring = Keyring::parse(text).unwrap();
        assert_eq!(ring.active(), 7);
        assert_eq!(ring.key_ids().collect::<Vec<_>>(), [1, 7]);
        assert_eq!(
            format!("{ring:?}"),
            "Keyring { active: 7, key_ids: [1, 7], .. }"
        );
        assert_ne!(
            ring.derive(7, Purpose::Accept),
            ring.derive(7, Purpose::Page)
        );
        assert_eq!(ring.derive(2, Purpose::Accept), None);
    }

    #[test]
    fn an_empty_or_malformed_keys_file_is_refused() {
        assert_eq!(
            Keyring::parse("# nothing").unwrap_err(),
            KeyringError::Empty
        );
        assert_eq!(
            Keyring::parse("1 short").unwrap_err(),
            KeyringError::Malformed(1)
        );
        assert_eq!(
            Keyring::parse("256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap_err(),
            KeyringError::Malformed(1)
        );
        let line = "1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
        assert_eq!(
            Keyring::parse(&line.repeat(2)).unwrap_err(),
            KeyringError::Repeated(2)
        );
    }
}
