//! Functions that several fuzz targets share.

use std::fmt::Debug;
use std::sync::LazyLock;

use invitations::domain::keyring::Keyring;

pub static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").expect("a keyring")
});

/// Parses a text and fails unless the parser accepts its own output unchanged. Returns the output, if the text is accepted.
pub fn parse_stable<E: Debug>(
    input: &str,
    parse: impl Fn(&str) -> Result<String, E>,
) -> Option<String> {
    let output = parse(input).ok()?;
    let again = parse(&output).expect("the parser accepts its own output");
    assert_eq!(again, output);
    Some(output)
}

/// Fails unless a text about a delivery failure is short and contains no email address.
pub fn assert_anonymous(text: &str) {
    assert!(!text.contains('@') && text.chars().count() <= 300, "{text}");
}
