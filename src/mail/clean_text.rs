//! Removes control characters and direction overrides from names and notes of other people.
//!
//! The service checks this text when it is received. This second check repairs instead of refusing, because a refused
//! email would only fail again. The templates escape the text.

/// Turns a name into one line with single spaces.
pub(super) fn clean_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .filter(|character| !is_bidi_control(*character))
        .map(|character| {
            let is_space = is_break(character) || character.is_control();
            if is_space { ' ' } else { character }
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Splits a note into lines, without blank lines at both ends.
pub(super) fn clean_lines(text: &str) -> Vec<String> {
    let unified = text.replace("\r\n", "\n");
    let lines: Vec<String> = unified.split(is_break).map(clean_line).collect();
    let is_filled = |line: &String| !line.is_empty();
    let Some(first) = lines.iter().position(is_filled) else {
        return Vec::new();
    };
    let last = lines.iter().rposition(is_filled).unwrap_or(first);
    lines[first..=last].to_vec()
}

fn is_break(character: char) -> bool {
    matches!(
        character,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Embeddings, overrides and isolates (UAX #9 §2). The marks U+200E and U+200F are harmless and are kept.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_clean_line() {
        let cases = [
            ("Acme", "Acme"),
            (" A\r\nBcc: x@y.zz ", "A Bcc: x@y.zz"),
            ("A\0B\tC", "A B C"),
            ("safe\u{202e}gnp.exe", "safegnp.exe"),
            ("\u{2028}x\u{2029}y", "x y"),
            ("شركة\u{200f}", "شركة\u{200f}"),
        ];
        for (input, expected) in cases {
            assert_eq!(clean_line(input), expected, "{input:?}");
        }
    }

    #[test]
    fn a_note_keeps_its_inner_lines() {
        assert_eq!(clean_lines("\r\n a\r\n\rb\n\n"), ["a", "", "b"]);
        assert!(clean_lines(" \n\t\r\n").is_empty());
    }
}
