//! Asks for a confirmation before a change that cannot be undone.

use std::io::{self, BufRead, IsTerminal as _, Write};

use invitations_command::error::CommandError;

/// Asks on the terminal; `consequence` is a sentence without its full stop. Fails if stdin is not a terminal.
pub(crate) fn confirm(consequence: &str) -> Result<bool, CommandError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = "nothing was sent, because stdin is not a terminal and cannot confirm; use --yes to continue \
                       without a confirmation";
        return Err(CommandError::Usage(message.to_owned()));
    }
    Ok(ask(consequence, &mut stdin.lock(), &mut io::stderr())?)
}

/// Only the whole word "yes" confirms.
fn ask(consequence: &str, input: &mut dyn BufRead, prompt: &mut dyn Write) -> io::Result<bool> {
    write!(prompt, "{consequence}. Type yes to continue: ")?;
    prompt.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_confirms() {
        for (typed, expected) in [
            ("yes\n", true),
            (" yes \r\n", true),
            ("y\n", false),
            ("\n", false),
            ("", false),
            ("YES\n", false),
        ] {
            let mut prompt = Vec::new();
            let is_confirmed =
                ask("This cannot be undone", &mut typed.as_bytes(), &mut prompt).unwrap();
            assert_eq!(is_confirmed, expected, "{typed:?}");
            let prompt = String::from_utf8(prompt).unwrap();
            assert_eq!(prompt, "This cannot be undone. Type yes to continue: ");
        }
    }
}
