//! The file that lets a later command resume an interrupted one.
//!
//! It is beside the report, or beside the list if there is no report. It is removed when every row is answered.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use invitations_command::error::CommandError;
use invitations_command::secret_file;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::now;
use crate::output::with_suffix;
use crate::send::list_source::{ListScan, hexadecimal};
use crate::send::send_args::SendArgs;

/// Suffix of the name of the report or the list.
const SUFFIX: &str = ".resume.json";

/// How long a command can be resumed. The server keeps a request id for one hour more.
const RESUME_SECONDS_MAX: i64 = 23 * 60 * 60;

/// What the later command must have in common with the interrupted one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeState {
    pub(crate) request_id: Uuid,
    server: String,
    organization: String,
    /// SHA-256 of all options that change the request.
    options: String,
    /// SHA-256 of the list.
    list: String,
    /// Start of the first command, in seconds since 1970.
    begun_at: i64,
}

pub(crate) struct ResumeFile {
    path: PathBuf,
}

impl ResumeState {
    pub(crate) fn new(args: &SendArgs, scan: &ListScan, request_id: Uuid) -> Self {
        Self {
            request_id,
            server: args.connection.server().address().to_owned(),
            organization: args.organization.clone(),
            options: options_digest(args),
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

impl ResumeFile {
    pub(crate) fn of(args: &SendArgs) -> Self {
        let beside = args.report.as_deref().unwrap_or(&args.file);
        Self {
            path: with_suffix(beside, SUFFIX),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the state of the interrupted command. Fails if this command, whose state is `current`, cannot resume it.
    pub(crate) fn read(&self, current: &ResumeState) -> Result<ResumeState, CommandError> {
        let path = self.path.display();
        let usage = |message| Err(CommandError::Usage(message));
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return usage(format!(
                    "there is nothing to resume, because {path} does not exist; run the command without --resume"
                ));
            }
            result => result.map_err(|source| CommandError::file("read", &self.path, source))?,
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

    pub(crate) fn create(&self, state: &ResumeState) -> Result<(), CommandError> {
        if self.path.exists() {
            return Err(CommandError::Usage(format!(
                "an earlier send was interrupted, because {} exists: continue it with --resume, or delete the file to \
                 start again",
                self.path.display()
            )));
        }
        let text = serde_json::to_string_pretty(state).expect("all fields are texts and numbers");
        secret_file::create(&self.path, &format!("{text}\n"), false)
    }

    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("warning: cannot remove {}: {error}", self.path.display());
        }
    }
}

fn options_digest(args: &SendArgs) -> String {
    let defaults = args.defaults();
    let options = serde_json::json!([
        args.inviter(),
        defaults.role,
        defaults.message,
        defaults.locale,
        defaults.ttl.map(|ttl| ttl.as_nanos().to_string()),
        defaults.redirect_url,
        format!("{:?}", args.on_existing),
        format!("{:?}", args.format),
    ]);
    hexadecimal(&Sha256::digest(options.to_string()))
}
