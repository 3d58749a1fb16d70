//! One run of `send`: its request id, its resume file, and the error message if it is interrupted.

use std::fmt::Write as _;

use invitations_command::error::CommandError;
use uuid::Uuid;

use crate::connection::{Connection, is_retryable, new_request_id};
use crate::send::list_source::ListScan;
use crate::send::result_collector::ResultCollector;
use crate::send::resume_file::{ResumeFile, ResumeState};
use crate::send::send_args::SendArgs;
use crate::send::stream_sender::StreamFailure;

pub(crate) struct SendSession {
    pub(crate) request_id: Uuid,
    /// `None` for a dry run, and for a list that cannot be read twice.
    file: Option<ResumeFile>,
    is_resumed: bool,
}

impl SendSession {
    /// Starts a new run, or resumes one with `--resume`.
    pub(crate) fn start(args: &SendArgs, scan: Option<&ListScan>) -> Result<Self, CommandError> {
        let mut session = Self {
            request_id: args.request_id.unwrap_or_else(new_request_id),
            file: None,
            is_resumed: args.resume,
        };
        let Some(scan) = scan.filter(|_| !args.dry_run) else {
            if args.resume {
                let message = "--resume needs a file, because a pipe cannot be compared with the earlier list; repeat a \
                               list from a pipe with --request-id";
                return Err(CommandError::Usage(message.to_owned()));
            }
            return Ok(session);
        };
        let file = ResumeFile::of(args);
        let state = ResumeState::new(args, scan, session.request_id);
        if args.resume {
            session.request_id = file.read(&state)?.request_id;
            session.file = Some(file);
            return Ok(session);
        }
        match file.create(&state) {
            Ok(()) => session.file = Some(file),
            // A folder without write permission does not stop the command.
            Err(failure @ CommandError::File { .. }) => {
                eprintln!("warning: {failure}; this send cannot be resumed with --resume");
            }
            Err(failure) => return Err(failure),
        }
        Ok(session)
    }

    /// Every row is answered, so there is nothing to resume.
    pub(crate) fn finish(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Nothing was sent. A run that was resumed can still be resumed.
    pub(crate) fn discard(&self) {
        if !self.is_resumed {
            self.finish();
        }
    }

    /// The error for a run that ended early, with a sentence about how to continue.
    pub(crate) fn interrupted(
        &self,
        args: &SendArgs,
        connection: &Connection,
        collector: &ResultCollector,
        failure: StreamFailure,
    ) -> CommandError {
        let was_accepted = collector.was_accepted;
        let may_have_changes = was_accepted
            || match &failure {
                StreamFailure::Status(status) => is_retryable(status),
                StreamFailure::Other(_) => true,
                StreamFailure::List(_) => false,
            };
        let mut text = match failure {
            StreamFailure::Status(status) => connection.describe("BulkCreateStream", &status),
            StreamFailure::Other(CommandError::Refused(text)) => text,
            StreamFailure::Other(failure) => return failure,
            StreamFailure::List(error) if !was_accepted => {
                self.discard();
                return args.list_error(error);
            }
            StreamFailure::List(error) => args.list_error(error).to_string(),
        };
        if args.dry_run {
            return CommandError::Refused(text);
        }
        if !may_have_changes {
            self.discard();
            return CommandError::Refused(text);
        }
        let answered_count = collector.sent.report.outcomes().total();
        let _ = write!(text, "\n  {answered_count} rows were answered");
        let _ = match &self.file {
            Some(file) => write!(
                text,
                "\n  continue with the same command and --resume ({}); no person is invited twice",
                file.path().display()
            ),
            None => write!(
                text,
                "\n  repeat the command with --request-id {}, so that no person is invited twice",
                self.request_id
            ),
        };
        CommandError::Refused(text)
    }
}
