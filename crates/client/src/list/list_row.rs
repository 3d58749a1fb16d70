//! One row of a list: its values, and the request item that they become.

use std::io::{self, BufRead};
use std::time::Duration;

use prost_types::{Struct, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::metadata;
use crate::proto::NewInvitation;
use crate::proto::new_invitation::Expiration;

/// Longest row. The limit is far above what the server accepts; it stops a quoted cell that is never closed.
pub(crate) const ROW_BYTES_MAX: usize = 1024 * 1024;
pub(crate) const ROW_TOO_LONG: &str = "the row is longer than 1 MiB";

pub(crate) type ListInput = Box<dyn BufRead + Send>;

#[derive(Clone)]
pub(crate) struct Invitee {
    /// Line of the file where the row starts, from 1.
    pub(crate) line: u64,
    pub(crate) item: NewInvitation,
}

pub(crate) enum ListEntry {
    Invitee(Box<Invitee>),
    /// A row that cannot be sent.
    Unreadable {
        line: u64,
        /// The address, or an empty text if the row has none that can be read.
        email: String,
        problem: String,
    },
}

impl ListEntry {
    /// `email` is called only if the row is unreadable.
    pub(crate) fn new(
        line: u64,
        row: Result<Invitee, String>,
        email: impl FnOnce() -> String,
    ) -> Self {
        match row {
            Ok(invitee) => Self::Invitee(Box::new(invitee)),
            Err(problem) => Self::Unreadable {
                line,
                email: email(),
                problem,
            },
        }
    }
}

#[derive(Debug)]
pub(crate) enum ListError {
    Io(io::Error),
    /// The file is not a list of people. One sentence per problem.
    Invalid(Vec<String>),
}

impl ListError {
    pub(crate) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid(vec![problem.into()])
    }
}

impl From<io::Error> for ListError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(crate) trait RowParser: Send {
    /// Reads the next row without parsing its values. Returns whether there was one.
    fn read_row(&mut self) -> io::Result<bool>;

    /// Parses the row that was read last.
    fn entry(&self, defaults: &RowDefaults) -> ListEntry;
}

/// Values for rows that leave a value out.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct RowDefaults {
    /// Role for rows without one [default: that of the organization]
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// Personal note for rows without one
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Language of the email for rows without one [default: that of the organization]
    #[arg(long)]
    pub(crate) locale: Option<String>,
    /// Lifetime of invitations, such as 7d, for rows without one [default: that of the server]
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<humantime::Duration>,
    /// Where people continue after accepting, for rows without a URL
    #[arg(long, value_name = "URL")]
    pub(crate) redirect_url: Option<String>,
}

/// The values of one row. The names are those of CSV columns and of JSON members.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RowValues {
    pub(crate) email: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) inviter_user_id: Option<String>,
    pub(crate) redirect_url: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) ttl: Option<String>,
    pub(crate) expire_time: Option<String>,
    pub(crate) notify: Option<bool>,
    pub(crate) public_metadata: Option<Map<String, Value>>,
    pub(crate) private_metadata: Option<Map<String, Value>>,
}

impl RowValues {
    pub(crate) fn into_invitee(self, line: u64, defaults: &RowDefaults) -> Result<Invitee, String> {
        let expiration = match (&self.ttl, &self.expire_time) {
            (Some(_), Some(_)) => {
                return Err("ttl and expire_time must not both be given".to_owned());
            }
            (None, Some(time)) => Some(Expiration::ExpireTime(parse_time(time)?)),
            (Some(ttl), None) => Some(to_expiration(parse_ttl(ttl)?)?),
            (None, None) => defaults.ttl.map(|ttl| to_expiration(*ttl)).transpose()?,
        };
        let or = |value: Option<String>, default: &Option<String>| {
            value.or_else(|| default.clone()).unwrap_or_default()
        };
        let item = NewInvitation {
            email: self.email.unwrap_or_default(),
            role: or(self.role, &defaults.role),
            inviter_user_id: self.inviter_user_id.unwrap_or_default(),
            redirect_url: or(self.redirect_url, &defaults.redirect_url),
            locale: or(self.locale, &defaults.locale),
            message: or(self.message, &defaults.message),
            notify: self.notify,
            public_metadata: to_struct("public_metadata", self.public_metadata)?,
            private_metadata: to_struct("private_metadata", self.private_metadata)?,
            expiration,
            key: line.to_string(),
            ..Default::default()
        };
        Ok(Invitee { line, item })
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|error| format!("ttl {text:?} is not a duration like 7d or 12h: {error}"))
}

fn to_expiration(ttl: Duration) -> Result<Expiration, String> {
    let ttl = prost_types::Duration::try_from(ttl).map_err(|_| "the ttl is too long".to_owned())?;
    Ok(Expiration::Ttl(ttl))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("expire_time {text:?} is not a time like 2027-01-31T12:00:00Z"))
}

fn to_struct(field: &str, object: Option<Map<String, Value>>) -> Result<Option<Struct>, String> {
    object
        .map(metadata::to_struct)
        .transpose()
        .map_err(|problem| format!("{field}: {problem}"))
}
