//! One run of `send`: its request id, its resume file, and the error message if it is interrupted.
//!
//! The resume file lets a later command resume an interrupted one. It is beside the report, or beside the list if there is
//! no report. It is removed when every row is answered.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use invitations_command::bounded_file::{self, FILE_BYTES_MAX};
use invitations_command::error::CommandError;
use invitations_command::secret_file;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::now;
use crate::connection::{Connection, is_retryable, new_request_id};
use crate::output::with_suffix;
use crate::send::list_source::{ListScan, hexadecimal};
use crate::send::send_args::SendArgs;
use crate::send::sent_list::ResultCollector;
use crate::send::stream_sender::StreamFailure;

const SUFFIX: &str = ".resume.json";

/// How long a command can be resumed. The server keeps a request id for one hour more.
const RESUME_SECONDS_MAX: i64 = 23 * 60 * 60;

pub(crate) struct SendSession {
    pub(crate) request_id: Uuid,
    /// The resume file. `None` for a dry run, and for a list that cannot be read twice.
    file: Option<PathBuf>,
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
        let file = with_suffix(args.report.as_deref().unwrap_or(&args.file), SUFFIX);
        let state = ResumeState::new(args, scan, session.request_id);
        if args.resume {
            session.request_id = read_state(&file, &state)?.request_id;
            session.file = Some(file);
            return Ok(session);
        }
        match create_state(&file, &state) {
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
        if let Some(file) = &self.file
            && let Err(error) = fs::remove_file(file)
        {
            eprintln!("warning: cannot remove {}: {error}", file.display());
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
        // A dry run has no file to remove.
        if args.dry_run || !may_have_changes {
            self.discard();
            return CommandError::Refused(text);
        }
        let answered_count = collector.sent.report.outcomes.total();
        let _ = write!(text, "\n  {answered_count} rows were answered");
        let _ = match &self.file {
            Some(file) => write!(
                text,
                "\n  continue with the same command and --resume ({}); no person is invited twice",
                file.display()
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

/// What the later command must have in common with the interrupted one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeState {
    request_id: Uuid,
    server: String,
    organization: String,
    /// SHA-256 of all options that change the request.
    options: String,
    list: String,
    /// Start of the first command, in seconds since 1970.
    begun_at: i64,
}

impl ResumeState {
    fn new(args: &SendArgs, scan: &ListScan, request_id: Uuid) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let defaults = &args.defaults;
        let options = serde_json::json!([
            args.inviter(),
            text(&defaults.role),
            text(&defaults.message),
            text(&defaults.locale),
            defaults.ttl.map(|ttl| ttl.as_nanos().to_string()),
            text(&defaults.redirect_url),
            format!("{:?}", args.on_existing),
            format!("{:?}", args.format),
        ]);
        Self {
            request_id,
            server: args.connection.server.address.clone(),
            organization: args.organization.clone(),
            options: hexadecimal(&Sha256::digest(options.to_string())),
            list: scan.digest.clone(),
            begun_at: now().unix_timestamp(),
        }
    }

    /// What differs from the interrupted command, such as "options, list". Empty if nothing does.
    fn differences(&self, earlier: &Self) -> String {
        let fields = [
            ("server", self.server != earlier.server),
            ("organization", self.organization != earlier.organization),
            ("options", self.options != earlier.options),
            ("list", self.list != earlier.list),
        ];
        let different = fields.into_iter().filter(|(_, differs)| *differs);
        let names: Vec<_> = different.map(|(name, _)| name).collect();
        names.join(", ")
    }
}

/// Reads the state of the interrupted command. Fails if this command, whose state is `current`, cannot resume it.
fn read_state(file: &Path, current: &ResumeState) -> Result<ResumeState, CommandError> {
    let path = file.display();
    let usage = |message| Err(CommandError::Usage(message));
    let text = match bounded_file::read(file, FILE_BYTES_MAX).and_then(bounded_file::into_text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return usage(format!(
                "there is nothing to resume, because {path} does not exist; run the command without --resume"
            ));
        }
        result => result.map_err(|source| CommandError::file("read", file, source))?,
    };
    let earlier: ResumeState = serde_json::from_str(&text)
        .map_err(|error| CommandError::Usage(format!("{path} is not valid: {error}")))?;
    if current.begun_at - earlier.begun_at > RESUME_SECONDS_MAX {
        return usage(format!(
            "{path} is too old to resume, because the server keeps request ids for one day only; delete the file to \
             send the whole list again"
        ));
    }
    let differences = current.differences(&earlier);
    if !differences.is_empty() {
        return usage(format!(
            "{path} is of a different command (different {differences}); repeat that command with --resume, or delete \
             the file"
        ));
    }
    Ok(earlier)
}

fn create_state(file: &Path, state: &ResumeState) -> Result<(), CommandError> {
    if file.exists() {
        return Err(CommandError::Usage(format!(
            "an earlier send was interrupted, because {} exists: continue it with --resume, or delete the file to \
             start again",
            file.display()
        )));
    }
    let text = serde_json::to_string_pretty(state).expect("all fields are texts and numbers");
    secret_file::create(file, &format!("{text}\n"), false)
}
