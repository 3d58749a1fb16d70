//! The commands of SMTP (RFC 5321 §4.1), parsed from one line.
//!
//! Knows no order of commands and no connection. Paths are taken by their outer shape alone: a development inbox shows
//! what it was sent, it does not judge addresses.

/// A command that is spelled right.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// HELO, the old greeting.
    Helo,
    /// EHLO, which asks for the list of extensions.
    Ehlo,
    /// MAIL FROM: opens a transaction. The sender is empty for `<>`.
    Mail { sender: String, size: Option<u64> },
    /// RCPT TO.
    Rcpt { recipient: String },
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
}

/// Why a line is no command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CommandError {
    /// No such command.
    Unknown,
    /// A command of an extension that is not offered.
    NotImplemented,
    /// The command is known, what follows it is not right. Says what is.
    Syntax(&'static str),
    /// MAIL or RCPT has a parameter of an extension that is not offered.
    Parameter,
}

/// Parses a line without its end.
pub(super) fn parse(line: &str) -> Result<Command, CommandError> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_matches(' ');
    match verb.to_ascii_uppercase().as_str() {
        "HELO" if rest.is_empty() => Err(CommandError::Syntax("HELO needs a host name")),
        "EHLO" if rest.is_empty() => Err(CommandError::Syntax("EHLO needs a host name")),
        "HELO" => Ok(Command::Helo),
        "EHLO" => Ok(Command::Ehlo),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" if rest.is_empty() => Ok(Command::Data),
        "RSET" if rest.is_empty() => Ok(Command::Rset),
        "QUIT" if rest.is_empty() => Ok(Command::Quit),
        "DATA" | "RSET" | "QUIT" => Err(CommandError::Syntax("nothing may follow this command")),
        "VRFY" if rest.is_empty() => Err(CommandError::Syntax("VRFY needs a name")),
        "VRFY" => Ok(Command::Vrfy),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "AUTH" | "STARTTLS" | "BDAT" | "EXPN" | "ETRN" => Err(CommandError::NotImplemented),
        _ => Err(CommandError::Unknown),
    }
}

fn mail(rest: &str) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("use MAIL FROM:<address>");
    let (sender, parameters) = path(rest, "FROM:").ok_or(SYNTAX)?;
    let mut size = None;
    for parameter in parameters.split_ascii_whitespace() {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (
            name.to_ascii_uppercase().as_str(),
            value.to_ascii_uppercase().as_str(),
        ) {
            ("SIZE", digits) => size = Some(digits.parse().map_err(|_| SYNTAX)?),
            ("BODY", "7BIT" | "8BITMIME") => {}
            _ => return Err(CommandError::Parameter),
        }
    }
    Ok(Command::Mail {
        sender: sender.to_owned(),
        size,
    })
}

fn rcpt(rest: &str) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("use RCPT TO:<address>");
    let (recipient, parameters) = path(rest, "TO:").ok_or(SYNTAX)?;
    if !parameters.trim().is_empty() {
        return Err(CommandError::Parameter);
    }
    let has_domain = recipient
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    // The one mailbox that needs no domain (RFC 5321 §4.1.1.3).
    if has_domain || recipient.eq_ignore_ascii_case("postmaster") {
        Ok(Command::Rcpt {
            recipient: recipient.to_owned(),
        })
    } else {
        Err(SYNTAX)
    }
}

/// Splits `FROM:<path> parameters` into the path, without brackets, and the parameters.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let after = rest
        .get(..keyword.len())
        .filter(|head| head.eq_ignore_ascii_case(keyword))
        .and_then(|_| rest.get(keyword.len()..))?;
    // The space is not allowed and yet so common that everybody takes it.
    let after = after.trim_start_matches(' ').strip_prefix('<')?;
    let mut is_quoted = false;
    let mut is_escaped = false;
    let end = after.find(|character| {
        let closes = character == '>' && !is_quoted;
        if character == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = character == '\\' && !is_escaped;
        closes
    })?;
    let (path, parameters) = (&after[..end], &after[end + 1..]);
    // The path stands in a header of the stored file, so it must be one line of visible characters.
    let is_plain = path
        .chars()
        .all(|character| character == ' ' || character.is_ascii_graphic());
    let is_separate = parameters.is_empty() || parameters.starts_with(' ');
    (is_plain && is_separate).then_some((path, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(sender: &str, size: Option<u64>) -> Command {
        Command::Mail {
            sender: sender.to_owned(),
            size,
        }
    }

    fn rcpt(recipient: &str) -> Command {
        Command::Rcpt {
            recipient: recipient.to_owned(),
        }
    }

    #[test]
    fn commands_are_known_in_any_case() {
        let cases = [
            ("HELO host", Command::Helo),
            ("ehlo [127.0.0.1]", Command::Ehlo),
            ("mail from:<a@b.co>", mail("a@b.co", None)),
            ("MAIL FROM:<> SIZE=12 BODY=8BITMIME", mail("", Some(12))),
            ("MAIL FROM: <a@b.co>", mail("a@b.co", None)),
            ("RCPT TO:<a@b.co>", rcpt("a@b.co")),
            ("RCPT TO:<Postmaster>", rcpt("Postmaster")),
            (r#"RCPT TO:<"a > b"@b.co>"#, rcpt(r#""a > b"@b.co"#)),
            (r#"RCPT TO:<"a\"> b"@b.co>"#, rcpt(r#""a\"> b"@b.co"#)),
            ("DATA", Command::Data),
            ("NOOP whatever", Command::Noop),
            ("VRFY somebody", Command::Vrfy),
            ("quit ", Command::Quit),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_says_why() {
        let is_syntax = |line| matches!(parse(line), Err(CommandError::Syntax(_)));
        for line in [
            "EHLO",
            "MAIL a@b.co",
            "MAIL FROM:a@b.co",
            "MAIL FROM:<a@b.co",
            "MAIL FROM:<a@b.co> SIZE=x",
            "MAIL FROM:<a@b.co>SIZE=1",
            "MAIL FRÖM:<a@b.co>",
            "RCPT TO:<>",
            "RCPT TO:<a>",
            "RCPT TO:<@b.co>",
            "RCPT TO:<é@b.co>",
            "RCPT TO:<a\u{7f}@b.co>",
            "DATA now",
            "VRFY",
        ] {
            assert!(is_syntax(line), "{line}");
        }
        assert_eq!(
            parse("MAIL FROM:<a@b.co> SMTPUTF8"),
            Err(CommandError::Parameter)
        );
        assert_eq!(
            parse("RCPT TO:<a@b.co> NOTIFY=NEVER"),
            Err(CommandError::Parameter)
        );
        assert_eq!(parse("STARTTLS"), Err(CommandError::NotImplemented));
        for line in ["", " ", "GET / HTTP/1.1", "ehlohost", "\u{0}"] {
            assert_eq!(parse(line), Err(CommandError::Unknown), "{line:?}");
        }
    }
}
