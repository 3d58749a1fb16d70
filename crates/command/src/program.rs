//! Runs one command to its exit status.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::error::{CommandError, Exit};

/// Runs a command on a runtime of one thread. Its results go to standard output, an error to standard error.
pub fn run(command: impl AsyncFnOnce(&mut dyn Write) -> Result<Exit, CommandError>) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut stdout = io::stdout().lock();
    let result = runtime
        .block_on(command(&mut stdout))
        .and_then(|exit| stdout.flush().map(|()| exit).map_err(CommandError::from));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.is_broken_pipe() {
                eprintln!("error: {}", with_causes(&error));
                if let Some(advice) = error.advice() {
                    eprintln!("  {advice}");
                }
            }
            error.exit_code()
        }
    }
}

/// The error and its causes, without a cause whose text the error already contains.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
