//! Locales: BCP 47 language tags, checked against the IANA registry, in canonical case.

use language_tags::LanguageTag;

use super::reason::Reason;

/// Longest language tag, in bytes. Every registered tag is far shorter.
pub const LOCALE_BYTES_MAX: usize = 35;

/// Checks a language tag and converts it to canonical case, such as `pt-BR`.
///
/// The tag must be valid and not only well formed (RFC 5646 §2.2.9): its subtags are in the IANA registry, which the
/// crate has as of 2021. `xx-INVALID` is well formed, but its emails would be in the wrong language.
pub fn parse(input: &str) -> Result<String, Reason> {
    // The crate does not check the subtags after a leading `x`.
    let is_tagged = input
        .split('-')
        .all(|subtag| (1..=8).contains(&subtag.len()));
    if input.len() > LOCALE_BYTES_MAX || !is_tagged {
        return Err(Reason::LocaleInvalid);
    }
    let tag = LanguageTag::parse(input).map_err(|_| Reason::LocaleInvalid)?;
    tag.validate().map_err(|_| Reason::LocaleInvalid)?;
    Ok(tag.into_string())
}

/// As [`parse`], for a tag that may be empty.
pub(super) fn parse_optional(input: &str) -> Result<String, Reason> {
    if input.is_empty() {
        Ok(String::new())
    } else {
        parse(input)
    }
}
#[cfg(test)]
#[path = "locale_tests.rs"]
mod tests;
