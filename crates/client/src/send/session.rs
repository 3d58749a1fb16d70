//! One run of the command: under which request id, and what a later run finds of it.

use std::fmt::Write as _;

use uuid::Uuid;

use super::SendArgs;
use super::resume::{State, StateFile};
use super::source::{Survey, told};
use super::stream::Stop;
use crate::report::Report;
use crate::request_id::new_request_id;
use crate::retry::is_retryable;
use crate::status::describe;
use invitations_command::error::CommandError;

/// One run.
pub(super) struct Session {
    /// What makes it safe to repeat.
    pub(super) request_id: Uuid,
    /// Where it is written down; not for a dry run, and not for a list that cannot be read twice.
    file: Option<StateFile>,
    is_resumed: bool,
}

impl Session {
    /// Begins a run, or takes one up.
    pub(super) fn begin(args: &SendArgs, survey: Option<&Survey>) -> Result<Self, CommandError> {
        let request_id = args.request_id.unwrap_or_else(new_request_id);
        let Some(survey) = survey.filter(|_| !args.dry_run) else {
            if args.resume {
                let message = "--resume needs a file, to see that it is the same list: send a pipe's again with --request-id";
                return Err(CommandError::Usage(message.to_owned()));
            }
            return Ok(Self {
                request_id,
                file: None,
                is_resumed: false,
            });
        };
        let file = StateFile::of(args);
        let state = State::new(args, survey, request_id);
        if args.resume {
            return Ok(Self {
                request_id: file.resume(&state)?.request_id,
                file: Some(file),
                is_resumed: true,
            });
        }
        let file = match file.create(&state) {
            Ok(()) => Some(file),
            // A folder that cannot be written to is no reason to invite nobody.
            Err(failure @ CommandError::File { .. }) => {
                eprintln!("warning: {failure}: --resume will not find this send");
                None
            }
            Err(failure) => return Err(failure),
        };
        Ok(Self {
            request_id,
            file,
            is_resumed: false,
        })
    }

    /// Every row is answered.
    pub(super) fn done(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// The service was not even asked.
    pub(super) fn nothing_done(&self) {
        if !self.is_resumed {
            self.done();
        }
    }

    /// Says why the run ended early, and how to go on.
    pub(super) fn failed(
        &self,
        args: &SendArgs,
        report: &Report,
        was_open: bool,
        stop: Stop,
    ) -> CommandError {
        let may_be_done = was_open
            || matches!(&stop, Stop::Status(status) if is_retryable(status))
            || matches!(&stop, Stop::Other(_));
        let mut text = match stop {
            Stop::Status(status) => describe("BulkCreateStream", args.connection.server(), &status),
            Stop::Other(CommandError::Refused(text)) => text,
            Stop::Other(failure) => return failure,
            Stop::Trouble(trouble) if !was_open => {
                self.nothing_done();
                return told(&args.file, trouble);
            }
            Stop::Trouble(trouble) => told(&args.file, trouble).to_string(),
        };
        if args.dry_run {
            return CommandError::Refused(text);
        }
        if !may_be_done {
            self.nothing_done();
            return CommandError::Refused(text);
        }
        let _ = write!(text, "\n  {} rows were answered", report.outcomes().total());
        let _ = match &self.file {
            Some(file) => write!(
                text,
                "\n  the same command with --resume goes on where it ended ({}): what is done is not done twice",
                file.path().display()
            ),
            None => write!(
                text,
                "\n  repeat the command with --request-id {}: what is done is not done twice",
                self.request_id
            ),
        };
        CommandError::Refused(text)
    }
}
