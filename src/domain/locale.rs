//! Locales: BCP 47 language tags, checked against the registry and kept in canonical case. What is translated is mail's
//! business.

use language_tags::LanguageTag;

use super::reason::Reason;

/// Longest language tag, in bytes; the longest registered one is far shorter.
pub const LOCALE_BYTES_MAX: usize = 35;

/// Checks a language tag and brings it into canonical case, such as `pt-BR`.
///
/// It has to be valid, not only well formed (RFC 5646 §2.2.9): its language, script, region and variants stand in the
/// IANA registry, which the crate carries as of 2021. `xx-INVALID` has the form of a tag and means nothing; whoever
/// sends it would find out by a mail in the wrong language.
pub fn parse(input: &str) -> Result<String, Reason> {
    // The crate looks at no subtag behind a leading `x`.
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

#[cfg(test)]
#[path = "locale_tests.rs"]
mod tests;
