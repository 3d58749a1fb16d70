//! `bounce`: a mail that came to a bounce address, from a mail server's pipe to the service.
//!
//! How it ends is written for that mail server. Whatever the mail is, it ends with 0 once the service has seen it: any
//! other status makes the server send a bounce, and this is where bounces go. Whatever an operator or time can mend
//! ends with 75 (`EX_TEMPFAIL` of sysexits), so that the mail waits in the server's queue. It makes no call twice: that
//! queue does.

use std::io::{self, Read, Write};

use super::connection::ConnectionArgs;
use super::status::{refused, short_name};
use crate::proto::{BounceOutcome, ReportBounceRequest};
use invitations_command::error::{CommandError, Exit};

/// The server reads no more of a report. A report begins with what matters.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Where to look if mails that are bounces for sure are not proven to be any.
const UNPROVEN_HINT: &str = "\
hint: no address it came to is a bounce address of this service. Pass the envelope recipient, extension and all, by \
--recipient; the mailbox has to be the one of INVITATIONS_MAIL_ENVELOPE_FROM, and the key that was first when the mail \
went out has to be in the keys file still";

/// Report a mail that came to a bounce address, read from stdin
///
/// For a mail server to pipe bounces into. Prints what came of it.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit status: 0 if the service took the mail, whatever it was; 75 if it is to be tried again, also \
                  where a setting is wrong.\n\n\
                  Example, in Postfix's master.cf:\n  \
                  invitations unix - n n - 4 pipe flags=R user=invitations\n    \
                  argv=/usr/local/bin/invitations bounce --recipient ${recipient} --token-file /etc/invitations/bounce.token"
)]
pub struct BounceArgs {
    /// The address it was delivered to [default: what its headers say]
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    recipient: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
pub async fn run(args: &BounceArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match report(args).await {
        Ok(outcome) => {
            let name = short_name(outcome.as_str_name(), "BOUNCE_OUTCOME_");
            // The mail was taken: that nobody reads this must not bring it back.
            let _ = writeln!(out, "{name}");
            if outcome == BounceOutcome::Unproven {
                let _ = writeln!(io::stderr(), "{UNPROVEN_HINT}");
            }
            Ok(Exit::Done)
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            Ok(Exit::Later)
        }
    }
}

async fn report(args: &BounceArgs) -> Result<BounceOutcome, CommandError> {
    let message = read(io::stdin().lock())?;
    if message.is_empty() {
        return Ok(BounceOutcome::NotAReport);
    }
    let request = ReportBounceRequest {
        message,
        envelope_recipient: args.recipient.clone(),
    };
    let mut client = args.connection.feedback().await?;
    let answer = client.report_bounce(request).await;
    let response =
        answer.map_err(|status| refused("ReportBounce", args.connection.server(), &status))?;
    Ok(response.into_inner().outcome())
}

/// Reads the beginning of a mail, and the rest of it to nowhere: a server whose pipe breaks takes that for a failure.
fn read(mut input: impl Read) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let limit = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    input.by_ref().take(limit).read_to_end(&mut message)?;
    io::copy(&mut input, &mut io::sink())?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_mail_is_read_to_its_end_and_cut() {
        let mut mail = io::Cursor::new(vec![b'x'; MESSAGE_BYTES_MAX + 7]);
        assert_eq!(read(&mut mail).unwrap().len(), MESSAGE_BYTES_MAX);
        assert_eq!(
            mail.position(),
            u64::try_from(MESSAGE_BYTES_MAX + 7).unwrap()
        );
    }
}
