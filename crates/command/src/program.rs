//! Runs one command and turns its result into the exit status of the process.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::error::{CommandError, CommandResult};

/// Runs a command on a single-threaded runtime. Its results go to stdout, and an error to stderr.
pub fn run(command: impl AsyncFnOnce(&mut dyn Write) -> CommandResult) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
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

/// The message of an error followed by those of its causes, without a message that the text already contains.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
    }
    text
}
