//! Address tags: what stands for an address where the address itself must not be kept.
//!
//! A tag is a keyed hash, so that who reads the database can neither read an address out of it nor try addresses against
//! it. Where a tag is stored is the store's business.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::email_address::EmailAddress;
use super::keyring::{Keyring, Purpose};

/// Length of a tag, in bytes.
pub const TAG_BYTES: usize = 32;

/// A keyed hash of a normalized address, and the key it was made with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressTag {
    /// The key's id in the ring.
    pub key_id: u8,
    /// HMAC-SHA256 of the normalized address.
    pub bytes: [u8; TAG_BYTES],
}

/// Makes tags of many addresses: derives each key of the ring once.
pub struct AddressTagger(Vec<(u8, Hmac<Sha256>)>);

impl AddressTagger {
    /// A tagger with every key of the ring, the signing one first.
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        let others = keyring.key_ids().filter(|kid| *kid != keyring.active());
        let kids = std::iter::once(keyring.active()).chain(others);
        Self(
            kids.filter_map(|kid| {
                let key = keyring.derive(kid, Purpose::AddressTag)?;
                let mac = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
                Some((kid, mac))
            })
            .collect(),
        )
    }

    /// The tag under which an address is added.
    #[must_use]
    pub fn tag(&self, address: &EmailAddress) -> AddressTag {
        self.tag_of_normalized(address.normalized())
    }

    /// The same for an address as the store keeps it.
    #[must_use]
    pub fn tag_of_normalized(&self, email_normalized: &str) -> AddressTag {
        self.tags_of_normalized(email_normalized)
            .next()
            .expect("a ring holds a key")
    }

    /// The tags under which an address may be found: one for each key of the ring.
    pub fn tags<'a>(&'a self, address: &'a EmailAddress) -> impl Iterator<Item = AddressTag> {
        self.tags_of_normalized(address.normalized())
    }

    /// The same for an address as the store keeps it.
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
    fn an_address_is_found_under_every_key_and_added_under_the_first() {
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
