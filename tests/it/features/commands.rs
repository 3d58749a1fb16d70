//! The client commands `send` and `watch` as a user runs them: the real program against a real server.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::database::count;
use crate::support::programs::{COMMAND_TIMEOUT, invitectl};
use crate::support::{ACME, World};

/// The exit status of a command, and its standard output followed by its standard error.
struct CommandOutput {
    code: Option<i32>,
    text: String,
}

/// A world, and the folder in which commands run.
struct CommandRunner {
    world: World,
    folder: TempDir,
}

impl CommandRunner {
    async fn new() -> Self {
        let mut world = World::start().await;
        world.may_leave_mail();
        Self {
            world,
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = invitectl();
        command
            .args(arguments)
            .args(["--organization", ACME])
            .env(
                "INVITATIONS_SERVER",
                format!("http://{}", self.world.address()),
            )
            .env("INVITATIONS_TOKEN", "all")
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end with this standard input.
    async fn run(&self, arguments: &[&str], stdin: &[u8]) -> CommandOutput {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let (written, output) = tokio::join!(
            async move { pipe.write_all(stdin).await },
            timeout(COMMAND_TIMEOUT, child.wait_with_output())
        );
        written.unwrap();
        let output = output.unwrap().unwrap();
        CommandOutput {
            code: output.status.code(),
            text: String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        }
    }

    async fn count(&self, table: &str) -> i64 {
        self.world.count(table).await
    }
}

/// The rows of a report, each by the names of its columns.
fn report(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

#[tokio::test]
async fn send_reads_a_list_of_a_spreadsheet_and_reports_each_row() {
    let runner = CommandRunner::new().await;
    // A byte order mark, semicolons, quotes, columns in another order, and invalid rows.
    let list = "\u{feff}role;email;message\r\n\
                member;ada.lovelace@example.com;\"Welcome; we \"\"waited\"\"\"\r\n\
                admin;Charles Babbage;\r\n\
                member;grace@example.com;\r\n\
                member;mary@example.com;\r\n\
                member;MARY@example.com;\r\n";
    fs::write(runner.path("people.csv"), list).unwrap();
    let command = ["send", "people.csv", "--inviter", "ada"];
    let dry = runner
        .run(&[&command[..], &["--dry-run"]].concat(), b"")
        .await;
    assert_eq!(dry.code, Some(3), "{}", dry.text);
    assert_eq!(runner.count("invitations").await, 0, "{}", dry.text);

    let sent = runner
        .run(
            &[&command[..], &["--no-wait", "--report", "report.csv"]].concat(),
            b"",
        )
        .await;
    assert_eq!(sent.code, Some(3), "{}", sent.text);
    let rows = report(&runner.path("report.csv"));
    let outcomes: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["line"].as_str(),
                row["outcome"].as_str(),
                row["reason"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("2", "created", ""),
            ("3", "refused", "EMAIL_INVALID"),
            ("4", "refused", "ALREADY_MEMBER"),
            ("5", "created", ""),
            ("6", "refused", "DUPLICATE_IN_REQUEST"),
        ]
    );
    assert_eq!(runner.count("invitations").await, 2);
    let found = runner.world.get(&rows[0]["invitation_id"]).await;
    assert_eq!(found.message, "Welcome; we \"waited\"");
}

#[tokio::test]
async fn send_refuses_a_list_that_is_not_utf_8_and_names_the_line() {
    let runner = CommandRunner::new().await;
    fs::write(
        runner.path("people.csv"),
        b"email\na@example.com\nj\xfcrgen@example.com\n",
    )
    .unwrap();
    let sent = runner
        .run(&["send", "people.csv", "--inviter", "ada"], b"")
        .await;
    assert_eq!(sent.code, Some(2), "{}", sent.text);
    assert!(
        sent.text.contains("line 3") && sent.text.contains("UTF-8"),
        "{}",
        sent.text
    );
    assert_eq!(runner.count("invitations").await, 0);
}

#[tokio::test]
async fn send_reads_a_list_from_standard_input() {
    let runner = CommandRunner::new().await;
    let list = "{\"email\": \"a@example.com\", \"public_metadata\": {\"team\": [1, 2]}}\n\
                {\"email\": \"b@example.com\", \"locale\": \"de\"}\n";
    let command = [
        "send",
        "-",
        "--format",
        "ndjson",
        "--inviter",
        "ada",
        "--no-wait",
    ];
    let sent = runner.run(&command, list.as_bytes()).await;
    assert_eq!(sent.code, Some(0), "{}", sent.text);
    assert_eq!(runner.count("invitations").await, 2);
}

#[tokio::test]
async fn send_resumes_after_it_was_killed_and_invites_nobody_twice() {
    const ROWS: usize = 10_000;
    let runner = CommandRunner::new().await;
    let list: String = std::iter::once("email\n".to_owned())
        .chain((0..ROWS).map(|number| format!("person{number}@example.com\n")))
        .collect();
    fs::write(runner.path("people.csv"), list).unwrap();
    let command = [
        "send",
        "people.csv",
        "--inviter",
        "ada",
        "--no-wait",
        "--report",
        "report.csv",
    ];
    let mut child = runner
        .command(&command)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // One connection for all queries, because connecting may take longer than sending the whole list.
    let mut database = runner.world.database().await;
    timeout(COMMAND_TIMEOUT, async {
        while count(&mut database, "invitations").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    // SIGKILL: the command cannot clean up.
    child.kill().await.unwrap();
    assert!(runner.path("report.csv.resume.json").exists());
    // The report may end in the middle of a row. The rows before are complete.
    let written = fs::read_to_string(runner.path("report.csv")).unwrap();
    let whole = written.rfind('\n').map_or(0, |end| end + 1);
    fs::write(runner.path("whole.csv"), &written[..whole]).unwrap();
    let rows = report(&runner.path("whole.csv"));
    assert!(rows.len() < ROWS, "the command ended before it was killed");
    assert!(rows.iter().all(|row| row["outcome"] == "created"));

    let resumed = runner
        .run(&[&command[..], &["--resume"]].concat(), b"")
        .await;
    assert_eq!(resumed.code, Some(0), "{}", resumed.text);
    let expected = i64::try_from(ROWS).unwrap();
    assert_eq!(runner.count("invitations").await, expected);
    assert_eq!(runner.count("outbox").await, expected);
    let rows = report(&runner.path("report.csv"));
    assert!(
        rows.len() == ROWS && rows.iter().all(|row| row["outcome"] == "created"),
        "the report covers the whole list"
    );
    assert!(!runner.path("report.csv.resume.json").exists());
}

/// A running `watch` command.
struct WatchCommand {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl WatchCommand {
    fn start(runner: &CommandRunner) -> Self {
        let arguments = [
            "watch",
            "--from-start",
            "--format",
            "json",
            "--cursor-file",
            "acme.cursor",
        ];
        let mut child = runner
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn next(&mut self) -> Value {
        let line = timeout(COMMAND_TIMEOUT, self.lines.next_line())
            .await
            .unwrap();
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn watch_resumes_after_the_stored_cursor() {
    let runner = CommandRunner::new().await;
    let response = runner.world.invite(&["a@example.com"]).await;
    let mut watch = WatchCommand::start(&runner);
    let event = watch.next().await;
    assert_eq!(event["type"], "CREATED");
    assert_eq!(event["batch_id"], response.batch_id.as_str());
    timeout(COMMAND_TIMEOUT, async {
        while !runner.path("acme.cursor").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    watch.child.kill().await.unwrap();
    let response = runner.world.invite(&["b@example.com"]).await;
    let mut watch = WatchCommand::start(&runner);
    let mut next = watch.next().await;
    // Delivery is at least once: the command may have been killed before it stored the cursor of the first event.
    if next["id"] == event["id"] {
        next = watch.next().await;
    }
    assert_eq!(next["batch_id"], response.batch_id.as_str());
}
