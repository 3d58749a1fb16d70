//! How a command ends: the exit statuses, and the one error that all commands share.
//!
//! Statuses of refused calls are put into words by `status`, not here.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a command that could do its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// The answer was no, as when a service is not healthy.
    Negative,
    /// Some of it was done, and the output says what was not.
    Partly,
    /// Nothing was done, and the same may work later: `EX_TEMPFAIL`, which mail servers understand.
    Later,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Negative => 1,
            Exit::Partly => 3,
            Exit::Later => 75,
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line or a file is wrong; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried, such as "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("no answer from {address}")]
    Away {
        /// The address that was tried.
        address: String,
        /// What the network said.
        source: tonic::transport::Error,
    },
    /// The service refused the call, put into words.
    #[error("{0}")]
    Refused(String),
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// The error for a file that could not be read or written.
    #[must_use]
    pub fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The exit status: 2 if the command line or a file is at fault, otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::File { .. } => 2,
            Self::Away { .. } | Self::Refused(_) | Self::Output(_) => 1,
        })
    }

    /// What to try, where there is something to try.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Away { .. } => Some(
                "is the server running there? choose another with --server (INVITATIONS_SERVER), or wait for it with \
                 invitations health --wait 30s",
            ),
            _ => None,
        }
    }

    /// Whether the reader of the output went away, as `| head` does: no reason to complain.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: ExitCode) -> String {
        format!("{code:?}")
    }

    #[test]
    fn exit_statuses_are_as_documented() {
        assert_eq!(shown(Exit::Done.into()), shown(ExitCode::from(0)));
        assert_eq!(shown(Exit::Negative.into()), shown(ExitCode::from(1)));
        assert_eq!(shown(Exit::Partly.into()), shown(ExitCode::from(3)));
        assert_eq!(shown(Exit::Later.into()), shown(ExitCode::from(75)));
        let usage = CommandError::Usage(String::new());
        assert_eq!(shown(usage.exit_code()), shown(ExitCode::from(2)));
        let refused = CommandError::Refused(String::new());
        assert_eq!(shown(refused.exit_code()), shown(ExitCode::from(1)));
    }
}
