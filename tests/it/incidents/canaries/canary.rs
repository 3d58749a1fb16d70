//! Canaries, and the search for them in a text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use invitations::domain::keyring::{Keyring, Purpose};

/// Data of people and their organizations. A response may contain it if the caller may read it.
pub(super) const PERSONAL_DATA: [&str; 20] = [
    "qzlocal1",
    "qzdomain1",
    "qzlocal2",
    "qzdomain2",
    "qzlocal3",
    "qzdomain3",
    "qzlocal4",
    "qzdomain4",
    "qzadalocal",
    "qzadadomain",
    "qzsupport",
    "qznoteword",
    "qzorgname",
    "qzinviter",
    "qzpublicvalue",
    "qzprivatevalue",
    "qzmetaname",
    "qzredirectpath",
    "qzusername",
    "qzmalformed",
];
/// Secrets of the deployment. No response and no row may contain them.
pub(super) const SECRETS: [&str; 6] = [
    "qzbearertoken",
    "qzstranger",
    "qzdatabasepassword",
    "qzsmtppassword",
    "qzwebhookpassword",
    "qzquoted",
];
/// The 32 bytes of the only key.
const MASTER_KEY: &[u8; 32] = b"qzmasterkeyqzmasterkeyqzmasterke";

/// A text that must not be disclosed, and the forms in which it could be.
pub(super) struct Canary {
    plain: String,
    encoded: Vec<String>,
}

impl Canary {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut encoded = base64_forms(bytes);
        for separator in ["", "%", "=", "\\x"] {
            let pairs = bytes.iter().map(|byte| format!("{separator}{byte:02x}"));
            encoded.push(pairs.collect());
            let pairs = bytes.iter().map(|byte| format!("{separator}{byte:02X}"));
            encoded.push(pairs.collect());
        }
        // `Debug` prints bytes as numbers.
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        encoded.push(numbers.join(", "));
        encoded.push(numbers.join(","));
        let plain = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        Self { plain, encoded }
    }

    fn is_in(&self, text: &str, text_in_lower_case: &str) -> bool {
        (self.plain.is_ascii() && text_in_lower_case.contains(&self.plain))
            || self.encoded.iter().any(|encoded| text.contains(encoded))
    }
}

/// The base64 form of bytes depends on their offset modulo 3, so there are three in each alphabet. The characters at
/// the ends also depend on the neighboring bytes and are left out.
fn base64_forms(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3 {
        let shifted = [&vec![0; offset], bytes].concat();
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(&shifted);
            let text = text.trim_end_matches('=');
            let begin = if offset == 0 { 0 } else { 4 };
            forms.push(text[begin..text.len() - 2].to_owned());
        }
    }
    forms
}

pub(super) fn word_canaries(words: &[&str]) -> Vec<Canary> {
    let words = words.iter();
    words.map(|word| Canary::new(word.as_bytes())).collect()
}

/// The text of a keys file with the master key.
pub(super) fn keys_file() -> String {
    format!("1 {}\n", URL_SAFE_NO_PAD.encode(MASTER_KEY))
}

/// The master key and all keys that are derived from it.
pub(super) fn key_canaries() -> Vec<Canary> {
    let keyring = Keyring::parse(&keys_file()).unwrap();
    let mut canaries = vec![Canary::new(MASTER_KEY), Canary::new(b"qzmasterkey")];
    for purpose in [
        Purpose::Accept,
        Purpose::Page,
        Purpose::AddressTag,
        Purpose::Unsubscribe,
        Purpose::Bounce,
    ] {
        canaries.push(Canary::new(&keyring.derive(1, purpose).unwrap()));
    }
    canaries
}

/// Fails if a text contains a canary, and shows the line.
pub(super) fn assert_without_canary(place: &str, text: &str, canaries: &[Canary]) {
    // Quoted-printable may have broken a canary into two lines.
    let text = text.replace("=\r\n", "").replace("=\n", "");
    let in_lower_case = text.to_ascii_lowercase();
    let found = canaries
        .iter()
        .find(|canary| canary.is_in(&text, &in_lower_case));
    if let Some(canary) = found {
        let mut lines = text.lines();
        let line = lines.find(|line| canary.is_in(line, &line.to_ascii_lowercase()));
        panic!(
            "{place} contains {:?}: {}",
            canary.plain,
            line.unwrap_or(&text)
        );
    }
}

#[test]
fn a_canary_is_found_in_every_encoding() {
    let is_found = |text: &str| {
        let result = std::panic::catch_unwind(|| {
            assert_without_canary("a test", text, &[Canary::new(b"qzlocal1")]);
        });
        result.is_err()
    };
    for text in [
        "x qzlocal1 y".to_owned(),
        "QZLocal1".to_owned(),
        "qzloc=\r\nal1".to_owned(),
        STANDARD.encode("qzlocal1"),
        STANDARD.encode("a qzlocal1 b"),
        STANDARD.encode("ab qzlocal1, c"),
        URL_SAFE.encode("abc qzlocal1"),
        "717a6c6f63616c31".to_owned(),
        "%71%7A%6C%6F%63%61%6C%31".to_owned(),
        "=71=7A=6C=6F=63=61=6C=31".to_owned(),
        format!("{:?}", b"qzlocal1"),
    ] {
        assert!(is_found(&text), "{text}");
    }
    assert!(!is_found("qzlocal2 cXps"));
}
