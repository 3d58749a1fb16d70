//! Enhanced status codes (RFC 3463), which are more specific than the three digits of a reply code.

use std::fmt;

/// Class, subject and detail.
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
        matches!(self, Self(5, 1, 0..=3 | 6 | 10) | Self(5, 2, 1))
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
