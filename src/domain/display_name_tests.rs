use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

#[test]
fn names_of_people_and_companies_pass() {
    for name in [
        "Ada Lovelace",
        "J.R.R. Tolkien",
        "Müller & Söhne, GmbH.",
        "株式会社 例え",
        "O'Brien",
        "🚀 Rockets",
        "St. Mary",
        "Release 1.2.3",
        "Smith Ltd 01234567",
        "Summit 2026-11-22",
        "4711 / 0815",
        "e.g. Acme",
    ] {
        assert_eq!(parse(name).as_deref(), Ok(name));
    }
}

#[test]
fn names_that_could_mislead_a_reader_are_refused() {
    for name in [
        "",
        "  ",
        "Eve\r\nBcc: x@y.zz",
        "a\0b",
        "a\x1bb",
        "\u{202e}moc",
        "<a href=//e>x</a>",
    ] {
        assert_eq!(parse(name), Err(Reason::NameInvalid), "{name:?}");
    }
    for name in ["x".repeat(101), "é".repeat(101), " ".repeat(100_000)] {
        assert_eq!(parse(&name), Err(Reason::NameTooLong));
    }
    for name in [
        "Visit https://evil.example",
        "Acme (evil.example)",
        "www.evil",
        "call me at eve@evil.example",
        "Win at evil.com,now",
        "see(evil.com)",
        "foo_bar.evil.com",
        "evil.xn--p1ai",
        "1.2.3.4",
        "evil。com",
        "Call +1 (808) 555-0100",
        "Refund 0800 123 456",
        "０８００１２３４５６",
        "8 0 8 5 5 5 0 1 0 0",
        "Win..evil.com",
        "evil.com..x",
        "evil.com.x",
    ] {
        assert_eq!(parse(name), Err(Reason::NameContainsLink), "{name:?}");
    }
}

/// What no name may contain, written a second time as a regular expression.
static FORBIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    let hidden = r"[\p{Cc}<>\x{ad}\x{61c}\x{200b}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{2069}\x{feff}]";
    let link = r"://|(?i:www\.|mailto:)";
    let host = r"[A-Za-z0-9]\.[A-Za-z]{2,}(?:$|[^\w.\-])";
    let address = r"(?:^|[^\w.])\d{1,3}(?:\.\d{1,3}){3}(?:$|[^\w.])";
    Regex::new(&format!("{hidden}|{link}|{host}|{address}")).unwrap()
});

/// Arbitrary text, and text that resembles a name.
pub(crate) fn inputs() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "\\PC{0,110}",
        "[a-zA-Z0-9 .:/@<>\u{202e}\u{3002}\n\t-]{0,24}",
        "(www|evil|http|1|x|J)?[.:/ -]{0,3}(com|example|R|1|www)[.:/ ]{0,2}(com|x|1\\.2)?",
    ]
}

proptest! {
    #[test]
    fn no_accepted_name_contains_anything_forbidden(input in inputs()) {
        if let Ok(name) = parse(&input) {
            prop_assert!(!FORBIDDEN.is_match(&name), "{name:?}");
            prop_assert!((1..=100).contains(&name.chars().count()));
            prop_assert_eq!(&name, input.trim());
            prop_assert_eq!(parse(&name), Ok(name));
        }
    }
}
