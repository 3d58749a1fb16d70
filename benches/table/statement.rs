//! The text of a statement, taken from where the program has it: a reference that sends this one cannot send another.

use anyhow::Context as _;

/// Where each statement ends: with the raw string that holds it.
const END: &str = "\"#";

/// The statement of that name in a source, without its first line.
pub(crate) fn text(source: &'static str, name: &str) -> anyhow::Result<&'static str> {
    let (_, rest) = source
        .split_once(&format!("-- {name}\n"))
        .with_context(|| format!("{name} is not where it was"))?;
    let (text, _) = rest
        .split_once(END)
        .with_context(|| format!("{name} has no end"))?;
    Ok(text)
}

/// Puts expressions in the places of `$1`, `$2` and so on.
pub(crate) fn fill(text: &str, expressions: &[String]) -> anyhow::Result<String> {
    let mut parts = text.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number: usize = number.parse().context("a dollar without a number")?;
        let expression = number
            .checked_sub(1)
            .and_then(|index| expressions.get(index));
        filled.push_str(expression.with_context(|| format!("nothing is known of ${number}"))?);
        filled.push_str(rest);
    }
    filled.push_str(";\n");
    Ok(filled)
}
