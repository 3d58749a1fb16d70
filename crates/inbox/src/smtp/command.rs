//! Parses one SMTP command line (RFC 5321 §4.1).
//!
//! Addresses are accepted if they have the outer form of a path. This server does not check them.

#[derive(Debug, PartialEq, Eq)]
pub(super) enum SmtpCommand {
    Helo,
    Ehlo,
    /// Starts a transaction. The sender is empty for `<>`.
    Mail {
        sender: String,
        size: Option<u64>,
    },
    Rcpt {
        recipient: String,
    },
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// The code and the text of the reply to a command that is not executed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandProblem(pub(super) u16, pub(super) &'static str);

const UNKNOWN: CommandProblem = CommandProblem(500, "unknown command");
const NOT_IMPLEMENTED: CommandProblem = CommandProblem(502, "not implemented");
const UNKNOWN_PARAMETER: CommandProblem = CommandProblem(555, "unknown parameter");

pub(super) const fn syntax_problem(text: &'static str) -> CommandProblem {
    CommandProblem(501, text)
}

/// Parses a line without its CRLF.
pub(super) fn parse(line: &str) -> Result<SmtpCommand, CommandProblem> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_matches(' ');
    match verb.to_ascii_uppercase().as_str() {
        "HELO" | "EHLO" if rest.is_empty() => Err(syntax_problem("HELO and EHLO need a host name")),
        "HELO" => Ok(SmtpCommand::Helo),
        "EHLO" => Ok(SmtpCommand::Ehlo),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" | "RSET" | "QUIT" if !rest.is_empty() => {
            Err(syntax_problem("this command has no arguments"))
        }
        "DATA" => Ok(SmtpCommand::Data),
        "RSET" => Ok(SmtpCommand::Rset),
        "QUIT" => Ok(SmtpCommand::Quit),
        "VRFY" if rest.is_empty() => Err(syntax_problem("VRFY needs a name")),
        "VRFY" => Ok(SmtpCommand::Vrfy),
        "NOOP" => Ok(SmtpCommand::Noop),
        "HELP" => Ok(SmtpCommand::Help),
        "AUTH" | "STARTTLS" | "BDAT" | "EXPN" | "ETRN" => Err(NOT_IMPLEMENTED),
        _ => Err(UNKNOWN),
    }
}

fn mail(rest: &str) -> Result<SmtpCommand, CommandProblem> {
    const SYNTAX: CommandProblem = syntax_problem("use MAIL FROM:<address>");
    let (sender, parameters) = path(rest, "FROM:").ok_or(SYNTAX)?;
    let mut size = None;
    for parameter in parameters.to_ascii_uppercase().split_ascii_whitespace() {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("SIZE", digits) => size = Some(digits.parse().map_err(|_| SYNTAX)?),
            ("BODY", "7BIT" | "8BITMIME") => {}
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    Ok(SmtpCommand::Mail {
        sender: sender.to_owned(),
        size,
    })
}

fn rcpt(rest: &str) -> Result<SmtpCommand, CommandProblem> {
    const SYNTAX: CommandProblem = syntax_problem("use RCPT TO:<address>");
    let (recipient, parameters) = path(rest, "TO:").ok_or(SYNTAX)?;
    if !parameters.trim().is_empty() {
        return Err(UNKNOWN_PARAMETER);
    }
    let has_domain = recipient
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    // The only mailbox without a domain (RFC 5321 §4.1.1.3).
    if has_domain || recipient.eq_ignore_ascii_case("postmaster") {
        Ok(SmtpCommand::Rcpt {
            recipient: recipient.to_owned(),
        })
    } else {
        Err(SYNTAX)
    }
}

/// Splits `FROM:<path> parameters` into the path, without brackets, and the parameters.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (start, rest) = rest.split_at_checked(keyword.len())?;
    if !start.eq_ignore_ascii_case(keyword) {
        return None;
    }
    // A space before the path is not allowed, but it is so common that servers accept it.
    let rest = rest.trim_start_matches(' ').strip_prefix('<')?;
    let mut is_quoted = false;
    let mut is_escaped = false;
    let end = rest.find(|character| {
        let is_end = character == '>' && !is_quoted;
        if character == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = character == '\\' && !is_escaped;
        is_end
    })?;
    let (path, parameters) = (&rest[..end], &rest[end + 1..]);
    // The path becomes a header of the stored file, so it must be one line of visible characters.
    let is_plain = path
        .chars()
        .all(|character| character == ' ' || character.is_ascii_graphic());
    let is_separate = parameters.is_empty() || parameters.starts_with(' ');
    (is_plain && is_separate).then_some((path, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(sender: &str, size: Option<u64>) -> SmtpCommand {
        SmtpCommand::Mail {
            sender: sender.to_owned(),
            size,
        }
    }

    fn rcpt(recipient: &str) -> SmtpCommand {
        SmtpCommand::Rcpt {
            recipient: recipient.to_owned(),
        }
    }

    #[test]
    fn commands_can_have_any_case() {
        let cases = [
            ("HELO host", SmtpCommand::Helo),
            ("ehlo [127.0.0.1]", SmtpCommand::Ehlo),
            ("mail from:<a@b.co>", mail("a@b.co", None)),
            ("MAIL FROM:<> SIZE=12 BODY=8BITMIME", mail("", Some(12))),
            ("MAIL FROM: <a@b.co>", mail("a@b.co", None)),
            ("RCPT TO:<a@b.co>", rcpt("a@b.co")),
            ("RCPT TO:<Postmaster>", rcpt("Postmaster")),
            (r#"RCPT TO:<"a > b"@b.co>"#, rcpt(r#""a > b"@b.co"#)),
            (r#"RCPT TO:<"a\"> b"@b.co>"#, rcpt(r#""a\"> b"@b.co"#)),
            ("DATA", SmtpCommand::Data),
            ("NOOP text", SmtpCommand::Noop),
            ("VRFY name", SmtpCommand::Vrfy),
            ("quit ", SmtpCommand::Quit),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn an_invalid_command_has_a_reason() {
        let is_syntax = |line| matches!(parse(line), Err(CommandProblem(501, _)));
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
        assert_eq!(parse("MAIL FROM:<a@b.co> SMTPUTF8"), Err(UNKNOWN_PARAMETER));
        assert_eq!(
            parse("RCPT TO:<a@b.co> NOTIFY=NEVER"),
            Err(UNKNOWN_PARAMETER)
        );
        assert_eq!(parse("STARTTLS"), Err(NOT_IMPLEMENTED));
        for line in ["", " ", "GET / HTTP/1.1", "ehlohost", "\u{0}"] {
            assert_eq!(parse(line), Err(UNKNOWN), "{line:?}");
        }
    }
}
