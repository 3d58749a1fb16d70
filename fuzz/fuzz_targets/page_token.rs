//! A sealed page token opens to its cursor, for its list alone. Other tokens do not open.
#![no_main]

use invitations::domain::page_token;
use invitations_fuzz::KEYRING;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (token, list, cursor) = input;
    assert!(page_token::open(&KEYRING, list, token).is_err());
    let sealed = page_token::seal(&KEYRING, list, cursor);
    let opened = page_token::open(&KEYRING, list, &sealed);
    assert_eq!(opened.as_deref(), Ok(cursor));
    let other: &[u8] = b"another list";
    assert!(list == other || page_token::open(&KEYRING, other, &sealed).is_err());
});
