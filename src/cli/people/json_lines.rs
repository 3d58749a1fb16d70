//! A file of people with one JSON object a line (NDJSON), its members named as the columns of a CSV file.

use super::{Defaults, Fields, Person};

/// Reads a whole file whose encoding was checked. Empty lines are passed over.
pub(super) fn read(text: &[u8], defaults: &Defaults) -> Result<Vec<Person>, Vec<String>> {
    let mut people = Vec::new();
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let person = serde_json::from_slice::<Fields>(text)
            .map_err(|error| problem(&error))
            .and_then(|fields| fields.person(line, defaults));
        match person {
            Ok(person) => people.push(person),
            Err(problem) => problems.push(format!("line {line}: {problem}")),
        }
    }
    if people.is_empty() && problems.is_empty() {
        problems.push("the file is empty".to_owned());
    }
    if problems.is_empty() {
        Ok(people)
    } else {
        Err(problems)
    }
}

/// The parser counts lines of its own, of which there is only one.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    format!("{text} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::new_invitation::Expiry;

    #[test]
    fn each_line_is_a_person() {
        let file = br#"{"email":"a@b.co","role":"admin","ttl":"7d","notify":false,"public_metadata":{"plan":"pro"}}

{"email":" c@d.co\t"}
"#;
        let people = read(file, &Defaults::default()).unwrap();
        let [first, second] = people.as_slice() else {
            panic!("two people");
        };
        assert_eq!((first.line, second.line), (1, 3));
        assert_eq!(
            (first.item.role.as_str(), first.item.notify),
            ("admin", Some(false))
        );
        let week = prost_types::Duration {
            seconds: 7 * 24 * 3600,
            nanos: 0,
        };
        assert!(first.item.expiry == Some(Expiry::Ttl(week)));
        assert_eq!(second.item.email, " c@d.co\t");
    }

    #[test]
    fn bad_lines_are_named_all_at_once() {
        let file = b"{\"email\":\"a@b.co\",\"name\":\"x\"}\n{\"email\":1}\nplain\n{\"email\":\"a@b.co\"}\n";
        let found = read(file, &Defaults::default()).err().unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("line 1: unknown field `name`, expected one of `email`"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("line 2: invalid type: integer `1`, expected a string (column"),
            "{found:?}"
        );
        assert!(
            found[2].starts_with("line 3: expected value (column"),
            "{found:?}"
        );
        assert_eq!(
            read(b"\n", &Defaults::default()).err().unwrap(),
            ["the file is empty"]
        );
    }
}
