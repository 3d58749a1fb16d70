//! Email addresses: one strict grammar, one normal form, and a `Debug` that masks them.
//!
//! No other module decides what an address is. The mail library's parser accepts quoted local parts, address literals
//! and unmapped Unicode domains, with which two spellings can name one address. This grammar refuses all of them.

use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::reason::Reason;

/// Longest address, in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest local part, in bytes (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Letters, digits and hyphens only, and no hyphen at an end of a label.
const STRICT: AsciiDenyList = AsciiDenyList::STD3;
const HYPHENS: Hyphens = Hyphens::CheckFirstLast;

/// A valid address in three spellings: as given, as the mailbox to send to, and normalized for comparison.
///
/// `Debug` masks it. It has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress {
    given: String,
    mailbox: String,
    normalized: String,
}

impl EmailAddress {
    /// Parses an address: an ASCII dot-atom (RFC 5322 §3.2.3), an at sign and a domain of at least two LDH labels.
    ///
    /// Spaces and tabs at both ends are dropped. The domain is processed by UTS #46, non-transitional and strict. A
    /// domain that UTS #46 changes in more than ASCII case is refused, because two spellings would name one host.
    pub fn parse(input: &str) -> Result<Self, Reason> {
        let given = input.trim_matches([' ', '\t']);
        // The length is checked first, because the other checks cost more. A-labels may be longer than the text that
        // they encode, so the mailbox is checked again below.
        if given.is_empty() || given.len() > EMAIL_BYTES_MAX {
            return Err(Reason::EmailInvalid);
        }
        let (local, domain) = given.split_once('@').ok_or(Reason::EmailInvalid)?;
        check_local_part(local)?;
        let ascii_domain = domain_to_ascii(domain).ok_or(Reason::EmailInvalid)?;
        let mailbox = format!("{local}@{ascii_domain}");
        if mailbox.len() > EMAIL_BYTES_MAX {
            return Err(Reason::EmailInvalid);
        }
        Ok(Self {
            given: given.to_owned(),
            normalized: mailbox.to_ascii_lowercase(),
            mailbox,
        })
    }

    /// The address as given, without spaces and tabs at both ends.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The address to send to, in ASCII: the local part as given, the domain in lower-case A-labels.
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// The normal form, in lower-case ASCII. Two addresses are equal if their normal forms are. Plus tags and dots
    /// stay.
    pub fn normalized(&self) -> &str {
        &self.normalized
    }

    /// The domain in lower-case A-labels.
    pub fn domain(&self) -> &str {
        self.mailbox.rsplit_once('@').map_or("", |parts| parts.1)
    }

    /// The address with most characters hidden, such as `a***@e***.com`, so that only its owner can recognize it.
    pub fn masked(&self) -> String {
        let first = |part: &str| part.chars().next().unwrap_or('*');
        let (local, domain) = self.mailbox.split_once('@').unwrap_or_default();
        let (name, tld) = domain.rsplit_once('.').unwrap_or_default();
        format!("{}***@{}***.{tld}", first(local), first(name))
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.masked())
    }
}

/// Converts a mail domain to lower-case A-labels. Returns `None` if the domain is invalid.
pub fn domain_to_ascii(domain: &str) -> Option<String> {
    let lowered = domain.to_ascii_lowercase();
    let uts46 = Uts46::new();
    let ascii = uts46.to_ascii(lowered.as_bytes(), STRICT, HYPHENS, DnsLength::Verify);
    let ascii = ascii.ok()?.into_owned();
    if !lowered.is_ascii() && !is_unmapped(&uts46, &lowered, &ascii) {
        return None;
    }
    let (_, tld) = ascii.rsplit_once('.')?;
    let tld_is_name = tld.starts_with("xn--") || tld.bytes().all(|byte| byte.is_ascii_alphabetic());
    (tld_is_name && ascii.is_ascii()).then_some(ascii)
}

/// Whether UTS #46 changed no character, so that the A-labels decode to the same spelling.
fn is_unmapped(uts46: &Uts46, lowered: &str, ascii: &str) -> bool {
    // A label that was given as an A-label decodes to Unicode, so both sides are decoded.
    let spelled = |text: &str| {
        text.split('.')
            .map(|label| {
                if label.starts_with("xn--") {
                    let (unicode, _) = uts46.to_unicode(label.as_bytes(), STRICT, HYPHENS);
                    unicode.into_owned()
                } else {
                    label.to_owned()
                }
            })
            .collect::<Vec<_>>()
    };
    spelled(lowered) == spelled(ascii)
}

fn check_local_part(local: &str) -> Result<(), Reason> {
    let is_short = (1..=LOCAL_PART_BYTES_MAX).contains(&local.len());
    if is_short && !local.is_ascii() && !local.chars().any(char::is_control) {
        // The local part needs SMTPUTF8, which this service does not support.
        return Err(Reason::EmailUnsupported);
    }
    // RFC 5322 §3.2.3.
    let is_atext =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atext);
    if is_short && local.split('.').all(is_atom) {
        Ok(())
    } else {
        Err(Reason::EmailInvalid)
    }
}

#[cfg(test)]
#[path = "email_address_tests.rs"]
mod tests;
