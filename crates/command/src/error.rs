//! Exit statuses of commands, and the error type that all commands share.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a command ended that ran without a [`CommandError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// The answer is no. For example, the server is not healthy, or an address is not on the list.
    Negative,
    /// Some items failed. The output names them.
    Partial,
    /// Nothing was done, and a retry may succeed. This is `EX_TEMPFAIL` of sysexits.h, which mail servers understand.
    RetryLater,
}

impl Exit {
    pub const fn negative_if(condition: bool) -> Self {
        if condition {
            Self::Negative
        } else {
            Self::Done
        }
    }

    pub const fn partial_if(condition: bool) -> Self {
        if condition { Self::Partial } else { Self::Done }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Negative => 1,
            Exit::Partial => 3,
            Exit::RetryLater => 75,
        })
    }
}

pub type CommandResult = Result<Exit, CommandError>;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line or the content of a file is wrong. No call was made.
    #[error("{0}")]
    Usage(String),
    #[error("cannot {action} {path}")]
    File {
        /// A verb, such as "read".
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot connect to {address}")]
    Unreachable {
        address: String,
        source: tonic::transport::Error,
    },
    /// The server rejected a call. The text says which call and why.
    #[error("{0}")]
    Refused(String),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl CommandError {
    pub fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The exit status: 2 if the command line or a file is wrong, otherwise 1.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::File { .. } => 2,
            Self::Unreachable { .. } | Self::Refused(_) | Self::Output(_) => 1,
        })
    }

    /// What the user can try next.
    pub fn advice(&self) -> Option<&'static str> {
        matches!(self, Self::Unreachable { .. }).then_some(
            "check that the server runs there; use --server (INVITATIONS_SERVER) for another address; the command \
             health --wait 30s waits until the server is ready",
        )
    }

    /// Whether the reader of the output closed it, as `head` does. That is not worth an error message.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: ExitCode) -> String {
        format!("{code:?}")
    }

    #[test]
    fn exit_statuses_are_as_documented() {
        assert_eq!(text(Exit::Done.into()), text(ExitCode::from(0)));
        assert_eq!(text(Exit::Negative.into()), text(ExitCode::from(1)));
        assert_eq!(text(Exit::Partial.into()), text(ExitCode::from(3)));
        assert_eq!(text(Exit::RetryLater.into()), text(ExitCode::from(75)));
        let usage = CommandError::Usage(String::new());
        assert_eq!(text(usage.exit_code()), text(ExitCode::from(2)));
        let refused = CommandError::Refused(String::new());
        assert_eq!(text(refused.exit_code()), text(ExitCode::from(1)));
    }
}
