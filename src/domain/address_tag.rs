//! Address tags and hashes: they stand for addresses where the address itself must not be stored.
//!
//! Somebody who reads the database can neither recover an address from a tag nor test whether an address has that tag.

use std::fmt;

use hmac::{Hmac, Mac as _};
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
        let mac = |kid| Some((kid, keyring.mac(kid, Purpose::AddressTag)?));
        Self(kids.filter_map(mac).collect())
    }

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

/// Hashes addresses to count the emails to them for a day. The hashes are shorter than tags and have a key of their own,
/// so that the two tables cannot be joined. Two addresses have the same hash with a probability of 1 in 2⁶⁴. After a new key was put first, the emails of the day
/// are counted from zero.
pub struct AddressHasher(Hmac<Sha256>);

impl AddressHasher {
    pub fn new(keyring: &Keyring) -> Self {
        let mac = keyring.mac(keyring.active(), Purpose::AddressQuota);
        Self(mac.expect("a keyring contains its signing key"))
    }

    /// The hash of a normalized address: the first 8 bytes of its HMAC-SHA256.
    pub fn hash(&self, email_normalized: &str) -> i64 {
        let mac = self.0.clone().chain_update(email_normalized.as_bytes());
        let bytes = mac.finalize().into_bytes();
        i64::from_be_bytes(*bytes.first_chunk().expect("a hash has 32 bytes"))
    }
}

impl fmt::Debug for AddressTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AddressTag {{ key_id: {}, .. }}", self.key_id)
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

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const OTHER: &str = "HxweHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgA";

    #[test]
    fn a_hash_depends_on_the_address_and_the_signing_key() {
        let hasher = |ring: &str| AddressHasher::new(&Keyring::parse(ring).unwrap());
        let first = hasher(&format!("1 {ONE}")).hash("a@b.co");
        assert_eq!(hasher(&format!("1 {ONE}\n2 {OTHER}")).hash("a@b.co"), first);
        assert_ne!(hasher(&format!("2 {OTHER}\n1 {ONE}")).hash("a@b.co"), first);
        assert_ne!(hasher(&format!("1 {ONE}")).hash("b@b.co"), first);
    }
}
