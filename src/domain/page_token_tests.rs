use proptest::prelude::*;

use super::*;

#[test]
fn a_token_is_valid_only_for_its_list() {
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

const KEYS: &str =
    "2 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

proptest! {
    #[test]
    fn a_token_returns_its_cursor_and_is_refused_by_every_other_list(
        list in prop::collection::vec(any::<u8>(), 0..40),
        other in prop::collection::vec(any::<u8>(), 0..40),
        cursor in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let ring = Keyring::parse(KEYS).unwrap();
        let token = seal(&ring, &list, &cursor);
        prop_assert_eq!(open(&ring, &list, &token), Ok(cursor));
        prop_assume!(list != other);
        prop_assert_eq!(open(&ring, &other, &token), Err(Reason::PageTokenInvalid));
    }

    #[test]
    fn a_changed_token_is_refused(
        cursor in prop::collection::vec(any::<u8>(), 0..20),
        at in any::<prop::sample::Index>(),
        character in any::<char>(),
    ) {
        let ring = Keyring::parse(KEYS).unwrap();
        let token = seal(&ring, b"list", &cursor);
        let at = at.index(token.len());
        let changed = format!("{}{character}{}", &token[..at], &token[at + 1..]);
        prop_assume!(changed != token);
        prop_assert_eq!(open(&ring, b"list", &changed), Err(Reason::PageTokenInvalid));
    }

    #[test]
    fn guessed_tokens_are_refused(input in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,60}"]) {
        let ring = Keyring::parse(KEYS).unwrap();
        prop_assert_eq!(open(&ring, b"list", &input), Err(Reason::PageTokenInvalid));
    }
}
