//! No page token that was not sealed opens, and one that was gives its cursor back.
#![no_main]

use std::sync::LazyLock;

use invitations::domain::keyring::Keyring;
use invitations::domain::page_token;
use libfuzzer_sys::fuzz_target;

static RING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").expect("a ring")
});

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (token, list, cursor) = input;
    assert!(page_token::open(&RING, list, token).is_err());
    let sealed = page_token::seal(&RING, list, cursor);
    assert_eq!(
        page_token::open(&RING, list, &sealed).as_deref(),
        Ok(cursor)
    );
    if sealed != token {
        assert!(
            page_token::open(&RING, b"another list", &sealed).is_err() || list == b"another list"
        );
    }
});
