//! Locales: BCP 47 language tags, checked against the IANA registry, in canonical case.

use std::collections::BTreeMap;

use language_tags::LanguageTag;

use super::reason::Reason;

/// Longest language tag, in bytes. Every registered tag is far shorter.
pub const LOCALE_BYTES_MAX: usize = 35;
/// The language of emails that name no other, and of emails in a language without templates.
pub const FALLBACK: &str = "en";
/// The scripts and regions of language tags whose readers do not read simplified characters.
const TRADITIONAL_CHINESE: [&str; 4] = ["hant", "tw", "hk", "mo"];

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

/// The text of a tag, in any case, or else one of the same language in another region or script.
pub fn best_match<'a, T>(wanted: &str, texts: &'a BTreeMap<String, T>) -> Option<&'a T> {
    let language = |tag: &str| tag.split('-').next().map(str::to_ascii_lowercase);
    let is_other_script =
        |tag: &str| is_traditional_chinese(wanted) && !is_traditional_chinese(tag);
    let is_same_language = |tag: &str| language(tag) == language(wanted) && !is_other_script(tag);
    let same_tag = texts
        .iter()
        .find(|(tag, _)| tag.eq_ignore_ascii_case(wanted));
    let of_same_language = || texts.iter().find(|(tag, _)| is_same_language(tag));
    same_tag.or_else(of_same_language).map(|(_, text)| text)
}

fn is_traditional_chinese(tag: &str) -> bool {
    let mut parts = tag.split('-').map(str::to_ascii_lowercase);
    parts.next().as_deref() == Some("zh")
        && parts.any(|part| TRADITIONAL_CHINESE.contains(&part.as_str()))
}

#[cfg(test)]
#[path = "locale_tests.rs"]
mod tests;
