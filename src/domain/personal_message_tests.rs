use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

#[test]
fn a_message_keeps_its_lines() {
    assert_eq!(
        parse(" Hi!\r\nSee you.Ada \n").as_deref(),
        Ok("Hi!\nSee you.Ada")
    );
    assert!(parse(&"é".repeat(500)).is_ok());
    assert!(parse("Meet at 10:30, room 3/4 (not e.g. 5)").is_ok());
}

#[test]
fn links_and_invisible_characters_are_refused() {
    let long = "x".repeat(501);
    for message in [
        &long,
        "a\0b",
        "\u{202e}x",
        "see https://evil.example",
        "WWW.evil.example",
        "evil.example/login",
        "a\rb",
    ] {
        assert_eq!(parse(message), Err(Reason::MessageInvalid), "{message:?}");
    }
}

/// What no message may contain, written a second time as a regular expression.
static FORBIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    let control = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]";
    let hidden = r"[\x{ad}\x{61c}\x{200b}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{2069}\x{feff}]";
    let link = r"://|(?i:www\.|mailto:)";
    let page = r"[A-Za-z0-9]\.[A-Za-z]{2,}[/:]";
    Regex::new(&format!("{control}|{hidden}|{link}|{page}")).unwrap()
});

proptest! {
    #[test]
    fn no_accepted_message_contains_anything_forbidden(
        input in prop_oneof![
            any::<String>(),
            "\\PC{0,510}",
            "[a-zA-Z0-9 .:/@\u{202e}\r\n\t-]{0,40}",
        ],
    ) {
        if let Ok(message) = parse(&input) {
            prop_assert!(!FORBIDDEN.is_match(&message), "{message:?}");
            prop_assert!(message.chars().count() <= 500);
            let unified = input.replace("\r\n", "\n");
            prop_assert_eq!(&message, unified.trim());
            prop_assert_eq!(parse(&message), Ok(message));
        }
    }
}
