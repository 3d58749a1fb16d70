//! The command `directory`, which manages organizations, users and memberships.

mod apply;
mod directory_file;
mod suspension;
mod upsert_report;

use std::io::Write;

use invitations_command::error::{CommandError, Exit};

use crate::commands::directory::apply::DirectoryApplyArgs;
use crate::commands::directory::suspension::{ResumeArgs, SuspendArgs};

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DirectoryCommand {
    Apply(DirectoryApplyArgs),
    Suspend(SuspendArgs),
    Resume(ResumeArgs),
}

pub(crate) async fn run(
    command: &DirectoryCommand,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    match command {
        DirectoryCommand::Apply(args) => apply::run(args, out).await,
        DirectoryCommand::Suspend(args) => suspension::suspend(args, out).await,
        DirectoryCommand::Resume(args) => suspension::resume(args, out).await,
    }
}
