//! The callers file: who may call, with which credentials, scopes and organizations.
//!
//! The server reads the file at start, and `invitations caller new` adds entries. It contains no token but only SHA-256
//! hashes. A token has 256 random bits, so a slow password hash would not make it safer. See docs/callers.md.

mod caller_table;
mod issuer_table;

use serde::Deserialize;

use self::caller_table::{CallerTable, check_callers};
use self::issuer_table::{IssuerTable, check_issuers};
use super::files::toml_problem;
use super::problems::Problems;
use crate::identity::{CallerEntry, IssuerEntry};

pub use self::caller_table::to_toml;

/// The checked content of a callers file, in the order of the file. Names and credentials are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallersFile {
    pub callers: Vec<CallerEntry>,
    pub issuers: Vec<IssuerEntry>,
}

/// All problems of a callers file, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("; "))]
pub struct CallersFileError {
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallersToml {
    #[serde(default, rename = "caller")]
    callers: Vec<CallerTable>,
    #[serde(default, rename = "issuer")]
    issuers: Vec<IssuerTable>,
}

impl CallersFile {
    /// Parses the text of a callers file. An empty text is a file without callers. Invalid TOML and a missing or unknown
    /// field is reported as one problem, other problems all together.
    pub fn parse(text: &str) -> Result<Self, CallersFileError> {
        let toml: CallersToml = toml::from_str(text).map_err(|error| CallersFileError {
            problems: vec![toml_problem(text, &error)],
        })?;
        let mut problems = Problems::default();
        let file = Self {
            callers: check_callers(toml.callers, &mut problems),
            issuers: check_issuers(toml.issuers, &mut problems),
        };
        problems
            .into_result(Some(file))
            .map_err(|problems| CallersFileError { problems })
    }
}

#[cfg(test)]
#[path = "callers_file_tests.rs"]
mod tests;
