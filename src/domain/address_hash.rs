//! Address hashes: short keyed hashes under which the emails to an address are counted for a day.
//!
//! They differ from [address tags](super::address_tag): they are shorter and have a key of their own, so that the two
//! tables cannot be joined. Two addresses have the same hash with a probability of 1 in 2⁶⁴.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::keyring::{Keyring, Purpose};

/// Hashes addresses with the signing key, which it derives once. After a new key was put first, the emails of the day
/// are counted from zero.
pub struct AddressHasher(Hmac<Sha256>);

impl AddressHasher {
    pub fn new(keyring: &Keyring) -> Self {
        let key = keyring
            .derive(keyring.active(), Purpose::AddressQuota)
            .expect("a keyring contains its signing key");
        Self(Hmac::new_from_slice(&key).expect("HMAC accepts keys of any length"))
    }

    /// The hash of a normalized address: the first 8 bytes of its HMAC-SHA256.
    pub fn hash(&self, email_normalized: &str) -> i64 {
        let mac = self.0.clone().chain_update(email_normalized.as_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let (first, _) = bytes.split_first_chunk().expect("a hash has 32 bytes");
        i64::from_be_bytes(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
