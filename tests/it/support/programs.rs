//! The programs of the workspace, as processes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The server.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_invitations");
/// How long a client command may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The client. Cargo names only the programs of a test's own package, so this one is looked for beside the server.
pub(crate) fn invitectl() -> Command {
    let path = Path::new(SERVER).with_file_name("invitectl");
    assert!(
        path.is_file(),
        "{} is missing: `make test` builds it, and so does `cargo build --workspace`",
        path.display()
    );
    command(path)
}

/// Runs a client command to its end; returns its exit status and what it printed to stdout.
pub(crate) async fn run_client(address: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = invitectl();
    command
        .args(arguments)
        .env("INVITATIONS_SERVER", format!("http://{address}"))
        .env("INVITATIONS_TOKEN", "all");
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn command(path: PathBuf) -> Command {
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}
