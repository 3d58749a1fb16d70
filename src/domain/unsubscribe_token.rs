//! Unsubscribe tokens: with the token in an email, only its reader can unsubscribe the address.
//!
//! A token contains the tag of the address and a truncated HMAC. It can be verified without a database, as long as its
//! key is in the keyring, and it does not reveal the address.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::address_tag::{AddressTag, TAG_BYTES};
use super::keyring::{Keyring, Purpose};

pub const TOKEN_CHARS: usize = 67;
const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;

/// Makes the token of a tag. Returns `None` if the keyring lacks the tag's key.
pub fn seal(keyring: &Keyring, tag: &AddressTag) -> Option<String> {
    let signed = [[VERSION, tag.key_id].as_slice(), &tag.bytes].concat();
    let mac: [u8; MAC_BYTES] = keyring.truncated_hmac(tag.key_id, Purpose::Unsubscribe, &signed)?;
    Some(URL_SAFE_NO_PAD.encode([signed.as_slice(), &mac].concat()))
}

/// Returns the tag of a genuine token.
pub fn open(keyring: &Keyring, token: &str) -> Option<AddressTag> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (signed, claimed) = bytes.split_at_checked(2 + TAG_BYTES)?;
    let (version, key_id) = (signed[0], signed[1]);
    let expected: [u8; MAC_BYTES] = keyring.truncated_hmac(key_id, Purpose::Unsubscribe, signed)?;
    let is_genuine = version == VERSION
        && bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), claimed));
    is_genuine.then(|| AddressTag {
        key_id,
        bytes: signed[2..].try_into().expect("split at the tag's length"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address_tag::AddressTagger;
    use crate::domain::email_address::EmailAddress;

    #[test]
    fn a_token_is_refused_if_any_bit_changed() {
        let keyring = Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n").unwrap();
        let address = EmailAddress::parse("alice@example.com").unwrap();
        let tag = AddressTagger::new(&keyring).tag(&address);
        let token = seal(&keyring, &tag).unwrap();
        assert_eq!(token.len(), TOKEN_CHARS);
        assert_eq!(open(&keyring, &token), Some(tag));
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&keyring, &URL_SAFE_NO_PAD.encode(forged)), None);
        }
        assert_eq!(open(&keyring, &token[1..]), None);
        assert_eq!(open(&keyring, ""), None);
    }
}
