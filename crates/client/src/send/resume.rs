//! What is written down of a list while it is sent, so that a command that was cut off can be taken up by another one.
//!
//! It lies beside the report, or beside the list where there is no report, and is gone once every row is answered.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::SendArgs;
use super::source::{Survey, hexadecimal};
use crate::clock::now;
use invitations_command::error::CommandError;
use invitations_command::secret_file;

/// What follows the name of the report or the list.
const SUFFIX: &str = ".resume.json";

/// For how long a send can be taken up: a little less than the service remembers it.
const RESUME_SECONDS_MAX: i64 = 23 * 60 * 60;

/// What a later command has to share with this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The request id of the stream.
    pub(super) request_id: Uuid,
    server: String,
    organization: String,
    /// SHA-256 of every option that changes what is sent.
    options: String,
    /// SHA-256 of the list.
    list: String,
    /// When it began, in seconds since the epoch.
    begun_at: i64,
}

/// The file that holds a [`State`].
pub(super) struct StateFile {
    path: PathBuf,
}

impl State {
    /// What a command with these options and this list would write down.
    pub(super) fn new(args: &SendArgs, survey: &Survey, request_id: Uuid) -> Self {
        Self {
            request_id,
            server: args.connection.server().address().to_owned(),
            organization: args.organization.clone(),
            options: options(args),
            list: survey.digest.clone(),
            begun_at: now().unix_timestamp(),
        }
    }

    /// What differs from an earlier command, in words.
    fn difference(&self, earlier: &Self) -> Option<String> {
        let differences = [
            (
                self.server != earlier.server,
                format!("it went to {}", earlier.server),
            ),
            (
                self.organization != earlier.organization,
                format!("it was for the organization {}", earlier.organization),
            ),
            (
                self.options != earlier.options,
                "the options are others".to_owned(),
            ),
            (
                self.list != earlier.list,
                "the list was changed since".to_owned(),
            ),
        ];
        let told: Vec<_> = differences
            .into_iter()
            .filter_map(|(differs, text)| differs.then_some(text))
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

impl StateFile {
    /// The file of a command with these arguments.
    pub(super) fn of(args: &SendArgs) -> Self {
        let beside = args.report.as_deref().unwrap_or(&args.file);
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(SUFFIX);
        Self {
            path: beside.with_file_name(name),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The state of an earlier command that this one can take up.
    pub(super) fn resume(&self, own: &State) -> Result<State, CommandError> {
        let path = self.path.display();
        let text = fs::read_to_string(&self.path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                let message = format!("there is nothing to resume: {path} is not there");
                CommandError::Usage(message)
            } else {
                CommandError::file("read", &self.path, source)
            }
        })?;
        let earlier: State = serde_json::from_str(&text)
            .map_err(|error| CommandError::Usage(format!("{path} cannot be read: {error}")))?;
        if own.begun_at - earlier.begun_at > RESUME_SECONDS_MAX {
            return Err(CommandError::Usage(format!(
                "{path} is over a day old: the service has forgotten that send, and would begin anew; remove that file to \
                 send the list once more"
            )));
        }
        if let Some(difference) = own.difference(&earlier) {
            return Err(CommandError::Usage(format!(
                "this is not the send that {path} is of: {difference}"
            )));
        }
        Ok(earlier)
    }

    /// Writes a new one.
    pub(super) fn create(&self, state: &State) -> Result<(), CommandError> {
        if self.path.exists() {
            return Err(CommandError::Usage(format!(
                "an earlier send did not end, says {}: take it up with --resume, or remove that file to begin anew",
                self.path.display()
            )));
        }
        let text = serde_json::to_string_pretty(state).expect("texts and ids are JSON");
        secret_file::create(&self.path, &format!("{text}\n"), false)
    }

    /// Removes it: there is nothing left to take up.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("warning: cannot remove {}: {error}", self.path.display());
        }
    }
}

fn options(args: &SendArgs) -> String {
    let options = serde_json::json!([
        args.inviter,
        args.role,
        args.message,
        args.locale,
        args.ttl.map(|ttl| ttl.as_nanos().to_string()),
        args.redirect_url,
        format!("{:?}", args.on_existing),
        format!("{:?}", args.format),
    ]);
    hexadecimal(&Sha256::digest(options.to_string()))
}
