//! Diagnostics: the reply of a mail server as a bounce or a provider repeats it, such as `smtp; 550 5.1.1 no such
//! user`.

use super::enhanced_code::EnhancedCode;
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
        let after_code = if reply_code.is_some() {
            // All lines of a reply but the last have a hyphen after the code (RFC 5321 §4.2.1).
            rest.trim_start_matches(['-', ' ', '#'])
        } else {
            text
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
    let is_type = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match input.split_once(';') {
        Some((word, text)) if is_type(word.trim()) => text.trim(),
        _ => input.trim(),
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
}
