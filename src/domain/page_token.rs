//! Page tokens: opaque cursors that are bound to the list they were made for. A changed token and a token of another
//! list are refused in the same way.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keyring::{Keyring, Purpose};
use super::reason::Reason;

const MAC_BYTES: usize = 16;

/// Makes the token of a cursor. `list` identifies the list and its filter.
pub fn seal(keyring: &Keyring, list: &[u8], cursor: &[u8]) -> String {
    let mut token = mac(keyring, keyring.active(), list, cursor)
        .unwrap_or_default()
        .to_vec();
    token.extend_from_slice(cursor);
    URL_SAFE_NO_PAD.encode(token)
}

/// Returns the cursor of a token that was made for this list, with any key of the keyring.
pub fn open(keyring: &Keyring, list: &[u8], token: &str) -> Result<Vec<u8>, Reason> {
    let bytes = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| Reason::PageTokenInvalid)?;
    let (claimed, cursor) = bytes
        .split_at_checked(MAC_BYTES)
        .ok_or(Reason::PageTokenInvalid)?;
    let is_genuine = keyring
        .key_ids()
        .filter_map(|kid| mac(keyring, kid, list, cursor))
        .any(|expected| bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), claimed)));
    if is_genuine {
        Ok(cursor.to_vec())
    } else {
        Err(Reason::PageTokenInvalid)
    }
}

fn mac(keyring: &Keyring, kid: u8, list: &[u8], cursor: &[u8]) -> Option<[u8; MAC_BYTES]> {
    let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
    let message = [&length.to_be_bytes(), list, cursor].concat();
    keyring.truncated_hmac(kid, Purpose::Page, &message)
}

#[cfg(test)]
#[path = "page_token_tests.rs"]
mod tests;
