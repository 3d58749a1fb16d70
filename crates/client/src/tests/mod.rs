//! Tests of whole commands: the command line, a fake server, and the output.

mod accept_tests;
mod batch_tests;
mod directory_tests;
mod fake_server;
mod resend_tests;
mod selection_tests;
mod send_stream_tests;
mod send_tests;
mod suppression_tests;
mod watch_tests;

use std::io::Write;
use std::sync::Arc;

use clap::{Args as _, FromArgMatches as _, Parser as _};
use invitations_command::error::{CommandError, CommandResult, Exit};
use invitations_command::server::ServerArgs;

use crate::command_line::{CommandLine, run};
use crate::tests::fake_server::service::{FakeServer, serve};

const TOKEN: &str = fake_server::service::TOKEN;

/// Options with this address and the default timeout.
pub(crate) fn server_args(address: &str) -> ServerArgs {
    let command = ServerArgs::augment_args(clap::Command::new("test"));
    let matches = command.get_matches_from(["test", "--server", address]);
    ServerArgs::from_arg_matches(&matches).unwrap()
}

/// Runs `commands` with the address of a server that serves until they end.
async fn with_server<T>(server: &Arc<FakeServer>, commands: impl AsyncFnOnce(&str) -> T) -> T {
    let (address, serving) = serve(Arc::clone(server));
    tokio::select! {
        result = commands(&address) => result,
        end = serving => panic!("the server ended: {end:?}"),
    }
}

/// Runs one command. `words` are a command line without the program, the server and the token.
async fn run_at(address: &str, words: &[&str], out: &mut dyn Write) -> CommandResult {
    let mut line = vec!["invitectl"];
    line.extend(words);
    line.extend(["--server", address]);
    if !words.contains(&"--token") {
        line.extend(["--token", TOKEN]);
    }
    run(&CommandLine::parse_from(line), out).await
}

/// Runs one command against a server. Returns its result and its output.
async fn run_command(server: &Arc<FakeServer>, words: &[&str]) -> (CommandResult, String) {
    let mut out = Vec::new();
    let result = with_server(server, async |address| {
        run_at(address, words, &mut out).await
    })
    .await;
    (result, String::from_utf8(out).unwrap())
}
