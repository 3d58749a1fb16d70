//! The one binary.

use clap::{Parser, Subcommand};
use invitations::cli::inbox;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inbox(inbox::InboxArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Inbox(arguments) => inbox::run(arguments).await,
    }
}
