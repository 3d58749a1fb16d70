//! The command `bounce`, which passes a bounce message from the pipe of a mail server to the service.
//!
//! The exit status is meant for the mail server. It is 0 for every message that the service has read, because any other
//! status makes the mail server send a bounce of this bounce. It is 75 (`EX_TEMPFAIL` of sysexits.h) for every error that
//! time or an operator can fix, so that the message stays in the queue of the mail server. That queue retries, so this
//! command does not.

use std::io::{self, Read, Write};

use invitations_command::error::{CommandError, CommandResult, Exit};

use crate::connection::ConnectionArgs;
use crate::output::short_name;
use crate::proto::{BounceOutcome, ReportBounceRequest};

/// The service reads no more of a message. The important parts of a report are at its start.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
const UNPROVEN_HINT: &str = "\
hint: no recipient of this message is a bounce address of the service. Pass the complete envelope recipient, including \
its extension, with --recipient. Its mailbox must be that of INVITATIONS_MAIL_ENVELOPE_FROM, and the keys file must \
still have the key that was first when the email was sent";

const AFTER_HELP: &str = "\
A mail server pipes bounce messages into this command. The command prints what the service did with the message.

Exit status:
  0   the service has read the message, whatever it was
  75  the mail server must retry later; also if a setting is wrong

Example for master.cf of Postfix:
  invitations unix - n n - 4 pipe flags=R user=invitations
    argv=/usr/local/bin/invitectl bounce --recipient ${recipient} --token-file /etc/invitations/bounce.token";

/// Report a bounce message from stdin
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BounceArgs {
    /// Envelope recipient of the message [default: the recipients in its headers]
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &BounceArgs, out: &mut dyn Write) -> CommandResult {
    match report(args).await {
        Ok(outcome) => {
            let name = short_name(outcome.as_str_name(), "BOUNCE_OUTCOME_");
            // The service has the message, so a failure to print must not make the mail server retry.
            let _ = writeln!(out, "{name}");
            if outcome == BounceOutcome::Unproven {
                let _ = writeln!(io::stderr(), "{UNPROVEN_HINT}");
            }
            Ok(Exit::Done)
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            Ok(Exit::RetryLater)
        }
    }
}

async fn report(args: &BounceArgs) -> Result<BounceOutcome, CommandError> {
    let message = read_start(io::stdin().lock())?;
    if message.is_empty() {
        return Ok(BounceOutcome::NotAReport);
    }
    let request = ReportBounceRequest {
        message,
        envelope_recipient: args.recipient.clone().unwrap_or_default(),
    };
    let connection = args.connection.connect().await?;
    let answer = connection.feedback().report_bounce(request).await;
    let response = answer.map_err(|status| connection.refused("ReportBounce", &status))?;
    Ok(response.into_inner().outcome())
}

/// Reads the start of a message and discards the rest. A mail server treats a pipe that is closed early as a failure.
fn read_start(mut input: impl Read) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut start = input.by_ref().take(MESSAGE_BYTES_MAX as u64);
    start.read_to_end(&mut message)?;
    io::copy(&mut input, &mut io::sink())?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_read_to_its_end_and_cut() {
        let mut message = io::Cursor::new(vec![b'x'; MESSAGE_BYTES_MAX + 7]);
        assert_eq!(read_start(&mut message).unwrap().len(), MESSAGE_BYTES_MAX);
        assert_eq!(
            message.position(),
            u64::try_from(MESSAGE_BYTES_MAX + 7).unwrap()
        );
    }
}
