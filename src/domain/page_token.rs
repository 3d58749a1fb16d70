//! Page tokens: opaque cursors, bound to the list they came from. A changed one and a foreign one are refused alike.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keyring::{Keyring, Purpose};
use super::reason::Reason;

/// Length of the proof, in bytes.
const PROOF_BYTES: usize = 16;

/// The token of a cursor into a list; `list` says which list and how it is filtered.
#[must_use]
pub fn seal(keyring: &Keyring, list: &[u8], cursor: &[u8]) -> String {
    let mut token = proof(keyring, keyring.active(), list, cursor)
        .unwrap_or_default()
        .to_vec();
    token.extend_from_slice(cursor);
    URL_SAFE_NO_PAD.encode(token)
}

/// The cursor of a token, if it was made for this very list. Keys that were active before still open.
pub fn open(keyring: &Keyring, list: &[u8], token: &str) -> Result<Vec<u8>, Reason> {
    let bytes = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| Reason::PageTokenInvalid)?;
    let (claimed, cursor) = bytes
        .split_at_checked(PROOF_BYTES)
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

fn proof(keyring: &Keyring, kid: u8, list: &[u8], cursor: &[u8]) -> Option<[u8; PROOF_BYTES]> {
    let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
    let message = [&length.to_be_bytes(), list, cursor].concat();
    keyring.truncated_hmac(kid, Purpose::Page, &message)
}

#[cfg(test)]
#[path = "page_token_tests.rs"]
mod tests;
