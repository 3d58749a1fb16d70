use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

#[test]
fn common_addresses_are_accepted() {
    let cases = [
        ("a@b.co", "a@b.co", "a@b.co"),
        (" a@b.co\t", "a@b.co", "a@b.co"),
        (
            "A.B+tag@Example.COM",
            "A.B+tag@example.com",
            "a.b+tag@example.com",
        ),
        ("a@straße.de", "a@xn--strae-oqa.de", "a@xn--strae-oqa.de"),
        (
            "a@\u{430}pple.com",
            "a@xn--pple-43d.com",
            "a@xn--pple-43d.com",
        ),
        (
            "a@xn--80ak6aa92e.com",
            "a@xn--80ak6aa92e.com",
            "a@xn--80ak6aa92e.com",
        ),
        (
            "grace@例え.jp",
            "grace@xn--r8jz45g.jp",
            "grace@xn--r8jz45g.jp",
        ),
        ("-oX@b.co", "-oX@b.co", "-ox@b.co"),
        ("a`id`@c.co", "a`id`@c.co", "a`id`@c.co"),
        ("%@b.co", "%@b.co", "%@b.co"),
    ];
    for (input, mailbox, normalized) in cases {
        let address = EmailAddress::parse(input).unwrap();
        assert_eq!(
            (address.mailbox(), address.normalized()),
            (mailbox, normalized),
            "{input:?}"
        );
    }
}

#[test]
fn malformed_addresses_are_refused() {
    let long_local = format!("{}@b.co", "a".repeat(65));
    let long_total = format!(
        "{}@{}.{}.co",
        "a".repeat(64),
        "b".repeat(63),
        "c".repeat(63)
    )
    .replace(".co", &format!(".{}.co", "d".repeat(60)));
    let huge = format!("{}@b.co", "a".repeat(900 * 1024));
    let cases = [
        "",
        "   ",
        "plain",
        "a@",
        "@b.co",
        "a@b",
        "a@localhost",
        "a@b..co",
        "a@.b.co",
        "a@b.co.",
        ".a@b.co",
        "a.@b.co",
        "a..b@b.co",
        "a b@b.co",
        "a@b.co\n",
        "a@b.co\r\nBcc: x@y.zz",
        "a\r\nRCPT TO:<x@y.zz>@b.co",
        "a\0@b.co",
        "a@@b.co",
        "a@b@c.co",
        "\"a@b.co x\"@internal.co",
        "\"a b\"@b.co",
        "A <a@b.co>",
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "a@[IPv6:::1]",
        "a@-b.co",
        "a@b-.co",
        "a@b_c.co",
        "a@b.123",
        "a@xn--example-.org",
        "a@b.co?subject=x",
        "a@b。co",
        "user@ⓔxample.com",
        "a@b.c\u{ad}o",
        long_local.as_str(),
        long_total.as_str(),
        huge.as_str(),
    ];
    for input in cases {
        let got = EmailAddress::parse(input).map(|_| ());
        assert_eq!(
            got,
            Err(Reason::EmailInvalid),
            "{:?}",
            &input[..input.len().min(60)]
        );
    }
}

#[test]
fn a_local_part_outside_ascii_is_unsupported_and_never_converted() {
    for input in ["mıke@example.org", "ａ@b.co", "é@b.co"] {
        assert_eq!(EmailAddress::parse(input), Err(Reason::EmailUnsupported));
    }
}

#[test]
fn debug_masks_the_address() {
    let address = EmailAddress::parse("alice@example.com").unwrap();
    assert_eq!(format!("{address:?}"), "a***@e***.com");
}

/// The grammar, written a second time as a regular expression.
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    let label = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
    let tld = r"(?:[a-z]{1,63}|xn--[a-z0-9-]{0,58}[a-z0-9])";
    Regex::new(&format!(r"^{atom}(?:\.{atom})*@(?:{label}\.)+{tld}$")).unwrap()
});

/// Arbitrary text, text that resembles an address, and addresses.
fn inputs() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,30}@[ -~]{0,30}",
        "\\PC{0,20}@\\PC{1,20}\\.[a-zA-Z]{1,6}",
        "[ \t]?[a-zA-Z0-9.+'-]{1,66}@([\u{e4}a-zA-Z0-9-]{1,20}\\.){1,3}(co|COM|xn--p1ai|p\u{fc}n)[ \t\n]?",
        "[a-z]{1,64}@([a-z]{60,63}\\.){3,4}[a-z]{2}",
    ]
}

proptest! {
    #[test]
    fn every_accepted_address_matches_the_grammar(input in inputs()) {
        if let Ok(address) = EmailAddress::parse(&input) {
            prop_assert!(GRAMMAR.is_match(address.mailbox()), "{}", address.mailbox());
            let (local, domain) = address.mailbox().split_once('@').unwrap();
            prop_assert!(local.len() <= 64 && domain.len() <= 253 && address.mailbox().len() <= 254);
            prop_assert_eq!(address.domain(), domain);
            prop_assert!(address.given().starts_with(local), "the local part is unchanged");
            if input.is_ascii() {
                let normalized = input.trim_matches([' ', '\t']).to_ascii_lowercase();
                prop_assert_eq!(address.normalized(), normalized, "ASCII is lowered and otherwise unchanged");
            }
        }
    }

    #[test]
    fn normalizing_is_idempotent(input in inputs()) {
        if let Ok(address) = EmailAddress::parse(&input) {
            for spelling in [address.given(), address.mailbox(), address.normalized()] {
                let again = EmailAddress::parse(spelling).unwrap();
                prop_assert_eq!(again.normalized(), address.normalized());
            }
            let again = EmailAddress::parse(address.mailbox()).unwrap();
            prop_assert_eq!(again.mailbox(), address.mailbox());
        }
    }

    #[test]
    fn debug_shows_one_letter_of_each_side(input in "[a-z]{2,20}@[a-z]{2,20}\\.com") {
        let address = EmailAddress::parse(&input).unwrap();
        let (local, domain) = input.split_once('@').unwrap();
        let printed = format!("{address:?}");
        prop_assert_eq!(printed, format!("{}***@{}***.com", &local[..1], &domain[..1]));
    }
}
