//! Diagnostics: the reply of a mail server as a bounce or a provider repeats it, such as `smtp; 550 5.1.1 no such
//! user`.

use std::fmt;

use super::masking::masked;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The reply code, if the text begins with one of class 4 or 5.
    pub reply_code: Option<u16>,
    pub enhanced_code: Option<EnhancedCode>,
    /// The text without its type, with addresses masked, truncated.
    pub text: String,
}

impl Diagnostic {
    /// Parses the value of a Diagnostic-Code field (RFC 3464 §2.3.6), with or without its type.
    pub fn parse(input: &str) -> Self {
        let text = without_type(input);
        let (code, rest) = text.split_at_checked(3).unwrap_or((text, ""));
        let is_code = matches!(code.as_bytes(), [b'4' | b'5', b'0'..=b'9', b'0'..=b'9']);
        let reply_code = code.parse().ok().filter(|_| {
            is_code && !rest.starts_with(|next: char| next.is_alphanumeric() || next == '.')
        });
        let after_code = match reply_code {
            // All lines of a reply but the last have a hyphen after the code (RFC 5321 §4.2.1).
            Some(_) => rest.trim_start_matches(['-', ' ', '#']),
            None => text,
        };
        Self {
            reply_code,
            enhanced_code: EnhancedCode::parse(after_code),
            text: masked(text),
        }
    }
}

/// Removes the type, such as `smtp;` or `X-Postfix;`.
fn without_type(input: &str) -> &str {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_type = |word: &str| !word.is_empty() && word.bytes().all(is_allowed);
    match input.split_once(';') {
        Some((word, text)) if is_type(word.trim()) => text.trim(),
        _ => input.trim(),
    }
}

/// An enhanced status code (RFC 3463): class, subject and detail. It is more specific than a reply code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u16, pub u16, pub u16);

impl EnhancedCode {
    /// Parses the code at the beginning of a text.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_whitespace().next()?;
        let mut numbers = word.split('.').map(|part| part.parse::<u16>().ok());
        let code = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        (numbers.next().is_none() && matches!(code.0, 2 | 4 | 5)).then_some(code)
    }

    /// Whether the code says that the address cannot receive email, now or later. Such an address is suppressed for a
    /// while. A full mailbox, a policy and a problem of the sender say nothing about the address.
    pub const fn is_invalid_address(self) -> bool {
        self.is_unknown_mailbox() || self.is_disabled_mailbox()
    }

    /// Whether there is no such mailbox: 5.1.0 to .3, .6 and .10.
    pub const fn is_unknown_mailbox(self) -> bool {
        matches!(self, Self(5, 1, 0..=3 | 6 | 10))
    }

    /// Whether the mailbox exists and is disabled.
    pub const fn is_disabled_mailbox(self) -> bool {
        matches!(self, Self(5, 2, 1))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_code_and_the_enhanced_code_are_found_after_the_type() {
        let full = Some(EnhancedCode(5, 2, 2));
        let unknown = Some(EnhancedCode(5, 1, 1));
        let cases = [
            ("smtp; 550 5.1.1 <a@b.co>: unknown", Some(550), unknown),
            (
                "smtp;550-5.1.1 The account 550 5.1.1 does not",
                Some(550),
                unknown,
            ),
            ("SMTP; 550 #5.1.1 unknown", Some(550), unknown),
            ("X-Postfix; unknown user: \"alice\"", None, None),
            ("552 5.2.2 full", Some(552), full),
            ("5.2.2 full", None, full),
            ("550", Some(550), None),
            ("5501 bottles", None, None),
            ("250 2.1.5 fine", None, None),
            ("550é", None, None),
            ("", None, None),
        ];
        for (input, reply_code, enhanced_code) in cases {
            let found = Diagnostic::parse(input);
            let found = (found.reply_code, found.enhanced_code);
            assert_eq!(found, (reply_code, enhanced_code), "{input:?}");
        }
        let text = Diagnostic::parse("smtp; 550 5.1.1 <a@b.co>: unknown").text;
        assert_eq!(text, "550 5.1.1 <[address]>: unknown");
    }

    #[test]
    fn a_code_is_three_numbers_of_class_2_4_or_5() {
        let cases = [
            ("5.1.1 no such user", Some(EnhancedCode(5, 1, 1))),
            ("4.7.28", Some(EnhancedCode(4, 7, 28))),
            ("3.1.1", None),
            ("5.1", None),
            ("5.1.1.1", None),
            ("5.1.x", None),
            ("99999.1.1", None),
            ("", None),
        ];
        for (text, code) in cases {
            assert_eq!(EnhancedCode::parse(text), code, "{text:?}");
        }
    }

    #[test]
    fn only_codes_about_the_address_make_it_invalid() {
        for (text, expected) in [
            ("5.1.1", true),
            ("5.1.0", true),
            ("5.1.10", true),
            ("5.2.1", true),
            ("4.1.1", false),
            // The sender's address.
            ("5.1.7", false),
            ("5.1.8", false),
            ("5.2.2", false),
            ("5.3.4", false),
            ("5.4.1", false),
            ("5.7.1", false),
            ("5.0.0", false),
        ] {
            let code = EnhancedCode::parse(text).unwrap();
            assert_eq!(code.is_invalid_address(), expected, "{text}");
            assert_eq!(code.to_string(), text);
        }
    }
}
