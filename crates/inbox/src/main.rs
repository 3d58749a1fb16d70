//! The program `invitations-inbox`: parses the command line and runs the inbox.

use std::process::ExitCode;

use clap::Parser as _;
use invitations_inbox::arguments::{self, InboxArgs};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::new("info"))
        .init();
    match arguments::run(InboxArgs::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
