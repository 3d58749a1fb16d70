//! Address tags: keyed hashes that stand for addresses where the address itself must not be stored.
//!
//! Somebody who reads the database can neither recover an address from a tag nor test whether an address has that tag.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::email_address::EmailAddress;
use super::keyring::{Keyring, Purpose};

pub const TAG_BYTES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressTag {
    /// The id of the key that made the tag.
    pub key_id: u8,
    /// The HMAC-SHA256 of the normalized address.
    pub bytes: [u8; TAG_BYTES],
}

/// Makes tags with the keys of a keyring, which it derives once. The signing key is the first.
pub struct AddressTagger(Vec<(u8, Hmac<Sha256>)>);

impl AddressTagger {
    pub fn new(keyring: &Keyring) -> Self {
        let others = keyring.key_ids().filter(|kid| *kid != keyring.active());
        let kids = std::iter::once(keyring.active()).chain(others);
        Self(
            kids.filter_map(|kid| {
                let key = keyring.derive(kid, Purpose::AddressTag)?;
                let mac = Hmac::new_from_slice(&key).expect("HMAC accepts keys of any length");
                Some((kid, mac))
            })
            .collect(),
        )
    }

    /// The tag with which an address is stored.
    pub fn tag(&self, address: &EmailAddress) -> AddressTag {
        self.tag_of_normalized(address.normalized())
    }

    pub fn tag_of_normalized(&self, email_normalized: &str) -> AddressTag {
        self.tags_of_normalized(email_normalized)
            .next()
            .expect("a keyring contains a key")
    }

    /// The tags with which an address may be stored: one for each key of the keyring.
    pub fn tags<'a>(&'a self, address: &'a EmailAddress) -> impl Iterator<Item = AddressTag> {
        self.tags_of_normalized(address.normalized())
    }

    pub fn tags_of_normalized<'a>(
        &'a self,
        email_normalized: &'a str,
    ) -> impl Iterator<Item = AddressTag> {
        self.0.iter().map(move |(key_id, mac)| AddressTag {
            key_id: *key_id,
            bytes: mac
                .clone()
                .chain_update(email_normalized.as_bytes())
                .finalize()
                .into_bytes()
                .into(),
        })
    }
}

impl fmt::Debug for AddressTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AddressTag")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: &str = "7 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n\
                        3 HxweHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgA\n";

    #[test]
    fn an_address_has_a_tag_for_each_key_and_is_stored_with_that_of_the_first() {
        let tagger = AddressTagger::new(&Keyring::parse(RING).unwrap());
        let as_given = EmailAddress::parse("Alice@Example.COM").unwrap();
        let other = EmailAddress::parse("alice@example.com").unwrap();
        let tags: Vec<_> = tagger.tags(&as_given).collect();
        assert_eq!(tags[0], tagger.tag(&other));
        assert_eq!(
            tags.iter().map(|tag| tag.key_id).collect::<Vec<_>>(),
            [7, 3]
        );
        assert_ne!(tags[0].bytes, tags[1].bytes);
        let stranger = EmailAddress::parse("bob@example.com").unwrap();
        assert_ne!(tagger.tag(&stranger), tags[0]);
        assert!(!format!("{tags:?}").contains("bytes"));
    }
}
