//! Page tokens: opaque cursors, bound to the list they came from. A changed one and a foreign one are refused alike.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::keyring::{Keyring, Purpose};
use crate::domain::reason::Reason;

/// Length of the proof, in octets.
const PROOF_OCTETS: usize = 16;

/// The token of a cursor into a list; `list` says which list and how it is filtered.
pub(super) fn seal(keyring: &Keyring, list: &[u8], cursor: &[u8]) -> String {
    let mut token = proof(keyring, keyring.active(), list, cursor)
        .unwrap_or_default()
        .to_vec();
    token.extend_from_slice(cursor);
    URL_SAFE_NO_PAD.encode(token)
}

/// The cursor of a token, if it was made for this very list. Keys that were active before still open.
pub(super) fn open(keyring: &Keyring, list: &[u8], token: &str) -> Result<Vec<u8>, Reason> {
    let octets = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| Reason::PageTokenInvalid)?;
    let (claimed, cursor) = octets
        .split_at_checked(PROOF_OCTETS)
        .ok_or(Reason::PageTokenInvalid)?;
    let is_genuine = keyring
        .key_ids()
        .filter_map(|kid| proof(keyring, kid, list, cursor))
        .any(|expected| bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), claimed)));
    if is_genuine {
        Ok(cursor.to_vec())
    } else {
        Err(Reason::PageTokenInvalid)
    }
}

fn proof(keyring: &Keyring, kid: u8, list: &[u8], cursor: &[u8]) -> Option<[u8; PROOF_OCTETS]> {
    let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
    let message = [&length.to_be_bytes(), list, cursor].concat();
    keyring.prove(kid, Purpose::Page, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_list_alone() {
        let ring = Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let token = seal(&ring, b"acme", b"cursor");
        assert_eq!(open(&ring, b"acme", &token), Ok(b"cursor".to_vec()));
        assert_eq!(open(&ring, b"other", &token), Err(Reason::PageTokenInvalid));
        for changed in [
            "",
            "x",
            &token[1..],
            &format!("{token}A"),
            &token.to_ascii_uppercase(),
        ] {
            assert_eq!(
                open(&ring, b"acme", changed),
                Err(Reason::PageTokenInvalid),
                "{changed:?}"
            );
        }
    }
}
