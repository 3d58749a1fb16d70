//! Runs one command and turns its result into the exit status of the process.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::error::{CommandError, Exit};

/// Runs a command on a single-threaded runtime. The command writes to standard output; an error is printed to standard
/// error.
pub fn run(command: impl AsyncFnOnce(&mut dyn Write) -> Result<Exit, CommandError>) -> ExitCode {
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
