//! Bounce addresses: the envelope sender of one email. It names the email and proves that this service sent it.
//!
//! A bounce is returned to the envelope sender (RFC 5321 §4.5.5). Somebody who never received the email does not know
//! that address and cannot forge it. So a forged bounce changes no invitation and suppresses no address.

use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::keyring::{Keyring, Purpose};

/// Longest local part of the configured bounce mailbox, in bytes. The service needs the rest of the 64 bytes of a local
/// part (RFC 5321 §4.5.3.1.1).
pub const MAILBOX_LOCAL_BYTES_MAX: usize = 64 - 1 - DETAIL_CHARS;
/// Length of the part behind the plus sign, in characters.
const DETAIL_CHARS: usize = 50;
/// Length of the truncated HMAC, in bytes. 80 bits cannot be guessed by sending emails.
const MAC_BYTES: usize = 10;
/// Bytes before the HMAC: key id, invitation id and sequence number.
const SIGNED_BYTES: usize = 1 + 16 + 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SentMail {
    pub invitation_id: Uuid,
    /// The sequence number of the email among those of its invitation, from 1.
    pub send_seq: i32,
}

impl SentMail {
    /// The envelope sender of this email, for bounces to `mailbox`, in lower case, because mail servers may change the
    /// case of a local part. Returns `None` if the local part of `mailbox` is too long.
    pub fn bounce_address(&self, keyring: &Keyring, mailbox: &str) -> Option<String> {
        let (local, domain) = mailbox.rsplit_once('@')?;
        if local.len() > MAILBOX_LOCAL_BYTES_MAX {
            return None;
        }
        let (kid, id, seq) = (keyring.active(), self.invitation_id, self.send_seq);
        let signed = [&[kid], id.as_bytes().as_slice(), &seq.to_be_bytes()].concat();
        let mac: [u8; MAC_BYTES] = keyring.truncated_hmac(kid, Purpose::Bounce, &signed)?;
        let bytes = [signed.as_slice(), &mac].concat();
        let detail = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        Some(format!("{local}+{detail}@{domain}"))
    }

    /// Reads the email from a bounce address. Returns `None` if the address is not genuine.
    pub fn of_bounce_address(keyring: &Keyring, address: &str) -> Option<Self> {
        let (local, _) = address.rsplit_once('@')?;
        let (_, detail) = local.rsplit_once('+')?;
        if detail.len() != DETAIL_CHARS {
            return None;
        }
        let detail = detail.to_ascii_uppercase();
        let bytes = BASE32_NOPAD.decode(detail.as_bytes()).ok()?;
        let (signed, claimed) = bytes.split_at_checked(SIGNED_BYTES)?;
        let expected: [u8; MAC_BYTES] =
            keyring.truncated_hmac(signed[0], Purpose::Bounce, signed)?;
        bool::from(expected.as_slice().ct_eq(claimed)).then(|| Self {
            invitation_id: Uuid::from_slice(&signed[1..17]).expect("16 bytes"),
            send_seq: i32::from_be_bytes(signed[17..].try_into().expect("4 bytes")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email_address::EmailAddress;

    #[test]
    fn a_bounce_address_identifies_its_email_and_every_changed_character_is_refused() {
        let keyring = Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n").unwrap();
        let mail = SentMail {
            invitation_id: Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001),
            send_seq: 3,
        };
        let address = mail
            .bounce_address(&keyring, "bounces@mail.example.com")
            .unwrap();
        assert!(EmailAddress::parse(&address).is_ok(), "{address}");
        assert_eq!(SentMail::of_bounce_address(&keyring, &address), Some(mail));
        let upper_case = address.to_ascii_uppercase();
        assert_eq!(
            SentMail::of_bounce_address(&keyring, &upper_case),
            Some(mail)
        );
        let start = address.find('+').unwrap() + 1;
        for at in start..start + DETAIL_CHARS {
            let other = if &address[at..=at] == "a" { "b" } else { "a" };
            let forged = format!("{}{other}{}", &address[..at], &address[at + 1..]);
            assert_eq!(SentMail::of_bounce_address(&keyring, &forged), None);
        }
        for forged in ["", "bounces@mail.example.com", "bounces+x@mail.example.com"] {
            assert_eq!(SentMail::of_bounce_address(&keyring, forged), None);
        }
    }

    #[test]
    fn a_mailbox_with_a_long_local_part_is_refused() {
        let keyring = Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n").unwrap();
        let mail = SentMail {
            invitation_id: Uuid::nil(),
            send_seq: 1,
        };
        assert!(
            mail.bounce_address(&keyring, "abcdefghijklm@example.com")
                .is_some()
        );
        assert_eq!(
            mail.bounce_address(&keyring, "abcdefghijklmn@example.com"),
            None
        );
    }
}
