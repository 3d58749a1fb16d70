use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

#[test]
fn language_tags_are_checked_and_converted_to_canonical_case() {
    for (input, expected) in [
        ("PT-br", "pt-BR"),
        ("zh-hans", "zh-Hans"),
        ("SR-LATN-rs", "sr-Latn-RS"),
        ("es-419", "es-419"),
        ("de-CH-1996", "de-CH-1996"),
        ("en-us-u-HC-h12", "en-US-u-hc-h12"),
        ("haw", "haw"),
    ] {
        assert_eq!(parse(input).as_deref(), Ok(expected));
    }
    for bad in [
        "",
        "e",
        "de_DE",
        "a b",
        "en-\u{e9}",
        "xx",
        "xx-INVALID",
        "xx-INVALID-",
        "en-XQ-ZZ",
        "en-UK",
        "en-Abcd",
        "X--",
        "x",
        "english",
        "de-u",
        "en-a-bb-a-cc",
        &format!("en-x-{}", "abcdefgh-".repeat(4)),
    ] {
        assert_eq!(parse(bad), Err(Reason::LocaleInvalid), "{bad:?}");
    }
}

/// The form of a language tag (RFC 5646 §2.1) in canonical case, written a second time as a regular expression.
/// "Grandfathered" tags, which were registered as a whole, have forms of their own.
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    let language = "(?:[a-z]{2,3}(?:-[a-z]{3})?|[a-z]{4,8})";
    let rest =
        "(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|[0-9]{3}))?(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*";
    let extensions = "(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*";
    let private = "x(?:-[a-z0-9]{1,8})+";
    let whole = "(?i:en-gb-oed|sgn-(?:be-fr|be-nl|ch-de)|i-[a-z]+|art-lojban|cel-gaulish|no-bok|no-nyn|zh-[a-z]+(?:-[a-z]+)?)";
    Regex::new(&format!(
        "^(?:{language}{rest}{extensions}(?:-{private})?|{private}|{whole})$"
    ))
    .unwrap()
});

fn inputs() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-zA-Z0-9-]{0,36}",
        "(de|EN|zh|sr|xx|qaa|haw)(-(Latn|hans|abcd|POSIX))?(-(DE|us|419|UK|ZZ))?(-(1996|1901|rozaj|u-hc-h12|a-bb|x-y))*",
        "(i-klingon|I-Default|x-whatever|art-lojban|zh-min-nan|en-GB-oed)",
    ]
}

proptest! {
    #[test]
    fn every_accepted_tag_has_the_form_of_a_language_tag(input in inputs()) {
        if let Ok(tag) = parse(&input) {
            prop_assert!(FORM.is_match(&tag), "{tag}");
            prop_assert!(tag.eq_ignore_ascii_case(&input) && tag.len() <= 35);
            prop_assert_eq!(parse(&tag), Ok(tag.clone()));
            prop_assert_eq!(parse(&input.to_ascii_uppercase()), Ok(tag), "case is ignored");
        }
    }
}
