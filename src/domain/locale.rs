//! Locales: BCP 47 language tags, checked for form and kept in canonical case. What is translated is mail's business.

use oxilangtag::LanguageTag;

use super::reason::Reason;

/// Longest language tag, in octets; the longest registered one is far shorter.
pub const LOCALE_OCTETS_MAX: usize = 35;

/// Checks a language tag (RFC 5646 §2.1) and brings it into canonical case, such as `pt-BR`.
pub fn parse(input: &str) -> Result<String, Reason> {
    if input.len() > LOCALE_OCTETS_MAX {
        return Err(Reason::LocaleInvalid);
    }
    LanguageTag::parse_and_normalize(input)
        .map(LanguageTag::into_inner)
        .map_err(|_| Reason::LocaleInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_tags_are_checked_and_brought_into_canonical_case() {
        assert_eq!(parse("PT-br").as_deref(), Ok("pt-BR"));
        assert_eq!(parse("zh-hans").as_deref(), Ok("zh-Hans"));
        for bad in ["", "xx-INVALID-", "e", "de_DE", "a b", "en-\u{e9}"] {
            assert_eq!(parse(bad), Err(Reason::LocaleInvalid), "{bad:?}");
        }
    }
}
