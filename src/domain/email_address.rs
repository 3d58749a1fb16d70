//! Mail addresses: one strict grammar, one normal form, and no way to print them by accident.
//!
//! Nothing else decides what an address is. The mail library's parser accepts quoted local parts, address literals and
//! unmapped Unicode domains, which is how one address becomes another; none of that passes here.

use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Longest address, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest local part, in bytes (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;

/// An address that satisfies the grammar.
///
/// Holds three spellings: as given (trimmed), the mailbox that mail goes to (its domain in A-labels) and the normal
/// form that addresses are compared by. `Debug` masks it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress {
    given: String,
    mailbox: String,
    normalized: String,
}

/// Why a string is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailAddressError {
    /// It breaks the grammar.
    Invalid,
    /// Its local part needs SMTPUTF8, which this service does not speak.
    Unsupported,
}

impl EmailAddress {
    /// Parses an address: dot-atom of ASCII (RFC 5322 §3.2.3), at sign, domain of two or more LDH labels.
    ///
    /// Spaces and tabs at the ends are dropped. The domain is processed by UTS #46, non-transitional and strict; one
    /// that UTS #46 would change in more than ASCII case is refused, because then two spellings name one host.
    pub fn parse(input: &str) -> Result<Self, EmailAddressError> {
        let given = input.trim_matches([' ', '\t']);
        // Before anything that costs more than a look at the length. A-labels may be longer than what they encode, so
        // this bounds the work and the mailbox is measured again below.
        if given.is_empty() || given.len() > EMAIL_BYTES_MAX {
            return Err(EmailAddressError::Invalid);
        }
        let (local, domain) = given.split_once('@').ok_or(EmailAddressError::Invalid)?;
        check_local_part(local)?;
        let ascii_domain = domain_to_ascii(domain).ok_or(EmailAddressError::Invalid)?;
        let mailbox = format!("{local}@{ascii_domain}");
        if mailbox.len() > EMAIL_BYTES_MAX {
            return Err(EmailAddressError::Invalid);
        }
        Ok(Self {
            given: given.to_owned(),
            normalized: mailbox.to_ascii_lowercase(),
            mailbox,
        })
    }

    /// Takes back an address that the store keeps, by the same grammar.
    #[must_use]
    pub fn from_stored(given: &str) -> Option<Self> {
        Self::parse(given).ok()
    }

    /// The address as given, without white space around it.
    #[must_use]
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The address mail goes to: the local part as given, the domain in lower-case A-labels. ASCII.
    #[must_use]
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// The form addresses are compared by, byte for byte: all ASCII lower case. Plus-tags and dots stay.
    #[must_use]
    pub fn normalized(&self) -> &str {
        &self.normalized
    }

    /// The domain in lower-case A-labels.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.mailbox
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain)
    }

    /// The address with most of it hidden, such as `a***@e***.com`: enough for its owner to recognize.
    #[must_use]
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

/// Converts a mail domain to lower-case A-labels, or `None` if it breaks the grammar.
#[must_use]
pub fn domain_to_ascii(domain: &str) -> Option<String> {
    let lowered = domain.to_ascii_lowercase();
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(
            lowered.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .ok()?
        .into_owned();
    if !lowered.is_ascii() && !is_unmapped(&uts46, &lowered, &ascii) {
        return None;
    }
    let (_, tld) = ascii.rsplit_once('.')?;
    let tld_is_name = tld.starts_with("xn--") || tld.bytes().all(|byte| byte.is_ascii_alphabetic());
    (tld_is_name && ascii.is_ascii()).then_some(ascii)
}

/// Whether UTS #46 took every character for itself: going back from A-labels must give the same spelling.
fn is_unmapped(uts46: &Uts46, lowered: &str, ascii: &str) -> bool {
    // A label that was given as an A-label comes back as Unicode, so both sides go back.
    let spelled = |text: &str| {
        text.split('.')
            .map(|label| {
                if label.starts_with("xn--") {
                    uts46
                        .to_unicode(
                            label.as_bytes(),
                            AsciiDenyList::STD3,
                            Hyphens::CheckFirstLast,
                        )
                        .0
                        .into_owned()
                } else {
                    label.to_owned()
                }
            })
            .collect::<Vec<_>>()
    };
    spelled(lowered) == spelled(ascii)
}

fn check_local_part(local: &str) -> Result<(), EmailAddressError> {
    if local.is_empty() || local.len() > LOCAL_PART_BYTES_MAX {
        return Err(EmailAddressError::Invalid);
    }
    if local.chars().any(char::is_control) {
        return Err(EmailAddressError::Invalid);
    }
    if !local.is_ascii() {
        return Err(EmailAddressError::Unsupported);
    }
    let is_dot_atom = local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext));
    if is_dot_atom {
        Ok(())
    } else {
        Err(EmailAddressError::Invalid)
    }
}

/// RFC 5322 §3.2.3.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
#[path = "email_address_tests.rs"]
mod tests;
