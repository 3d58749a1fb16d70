//! The program `invitectl`.

use std::process::ExitCode;

use clap::Parser as _;
use invitations_client::{CommandLine, run};
use invitations_command::program;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    program::run(async |out| run(&line, out).await)
}
