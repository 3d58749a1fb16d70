//! The programs of the workspace, as processes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The path of the server program.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_invitations");
/// How long a client command may take. Long, for a busy machine.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_mins(2);

/// A command that runs the client program with an empty environment. Cargo gives a test only the paths of the programs
/// of its own package, so the client is expected beside the server.
pub(crate) fn invitectl() -> Command {
    let path = Path::new(SERVER).with_file_name("invitectl");
    assert!(
        path.is_file(),
        "{} is missing: `make test` builds it, and so does `cargo build --workspace`",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a client command against a server as the caller `all`. Returns the exit status and the standard output.
pub(crate) async fn run_client(address: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = invitectl();
    command
        .args(arguments)
        .env("INVITATIONS_SERVER", format!("http://{address}"))
        .env("INVITATIONS_TOKEN", "all");
    let output = timeout(COMMAND_TIMEOUT, command.output())
        .await
        .unwrap()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}
