//! Locales: BCP 47 language tags, checked against the IANA registry, in canonical case.

use language_tags::LanguageTag;

use super::reason::Reason;

/// Longest language tag, in bytes. Every registered tag is far shorter.
pub const LOCALE_BYTES_MAX: usize = 35;

/// Checks a language tag and converts it to canonical case, such as `pt-BR`.
///
/// The tag must be valid and not only well formed (RFC 5646 §2.2.9): its subtags are in the IANA registry as of 2021.
pub fn parse(input: &str) -> Result<String, Reason> {
    // The crate does not check the subtags after a leading `x`.
    let is_subtag = |subtag: &str| (1..=8).contains(&subtag.len());
    if input.len() > LOCALE_BYTES_MAX || !input.split('-').all(is_subtag) {
        return Err(Reason::LocaleInvalid);
    }
    let tag = LanguageTag::parse(input).map_err(|_| Reason::LocaleInvalid)?;
    tag.validate().map_err(|_| Reason::LocaleInvalid)?;
    Ok(tag.into_string())
}

#[cfg(test)]
#[path = "locale_tests.rs"]
mod tests;
