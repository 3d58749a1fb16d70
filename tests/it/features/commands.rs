//! The commands as a user runs them: the real program, a list in a file, the real service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::programs::{COMMAND_TIMEOUT, invitectl};
use crate::support::{ACME, World};

/// What a command came to.
struct Ended {
    code: Option<i32>,
    told: String,
}

/// A world, and a folder to run commands in.
struct Desk {
    world: World,
    folder: TempDir,
}

impl Desk {
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

    /// Runs a command to its end with something on its stdin.
    async fn run(&self, arguments: &[&str], stdin: &[u8]) -> Ended {
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
        Ended {
            code: output.status.code(),
            told: String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        }
    }

    async fn count(&self, table: &str) -> i64 {
        count(&mut self.world.database().await, table).await
    }
}

async fn count(database: &mut PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(database)
        .await
        .unwrap()
}

/// The rows of a report by the names of its columns.
fn report(path: &Path) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_list_as_a_spreadsheet_writes_it_is_tried_dry_and_then_sent() {
    let desk = Desk::new().await;
    // With a byte order mark, semicolons, quotes, another order, and what people get wrong.
    let list = "\u{feff}role;email;message\r\n\
                member;ada.lovelace@example.com;\"Welcome; we \"\"waited\"\"\"\r\n\
                admin;Charles Babbage;\r\n\
                member;grace@example.com;\r\n\
                member;mary@example.com;\r\n\
                member;MARY@example.com;\r\n";
    fs::write(desk.path("people.csv"), list).unwrap();
    let command = ["send", "people.csv", "--inviter", "ada"];
    let dry = desk
        .run(&[&command[..], &["--dry-run"]].concat(), b"")
        .await;
    assert_eq!(dry.code, Some(3), "{}", dry.told);
    assert_eq!(desk.count("invitations").await, 0, "{}", dry.told);

    let sent = desk
        .run(
            &[&command[..], &["--no-wait", "--report", "report.csv"]].concat(),
            b"",
        )
        .await;
    assert_eq!(sent.code, Some(3), "{}", sent.told);
    let rows = report(&desk.path("report.csv"));
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
    assert_eq!(desk.count("invitations").await, 2);
    let found = desk.world.get(&rows[0]["invitation_id"]).await;
    assert_eq!(found.message, "Welcome; we \"waited\"");
}

#[tokio::test]
async fn a_list_that_is_no_utf8_is_refused_where_it_stands() {
    let desk = Desk::new().await;
    fs::write(
        desk.path("people.csv"),
        b"email\na@example.com\nj\xfcrgen@example.com\n",
    )
    .unwrap();
    let sent = desk
        .run(&["send", "people.csv", "--inviter", "ada"], b"")
        .await;
    assert_eq!(sent.code, Some(2), "{}", sent.told);
    assert!(
        sent.told.contains("line 3") && sent.told.contains("UTF-8"),
        "{}",
        sent.told
    );
    assert_eq!(desk.count("invitations").await, 0);
}

#[tokio::test]
async fn a_list_from_a_pipe_is_sent_as_it_comes() {
    let desk = Desk::new().await;
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
    let sent = desk.run(&command, list.as_bytes()).await;
    assert_eq!(sent.code, Some(0), "{}", sent.told);
    assert_eq!(desk.count("invitations").await, 2);
}

#[tokio::test]
async fn a_command_that_is_killed_is_taken_up_and_nobody_is_invited_twice() {
    const ROWS: usize = 10_000;
    let desk = Desk::new().await;
    let list: String = std::iter::once("email\n".to_owned())
        .chain((0..ROWS).map(|number| format!("person{number}@example.com\n")))
        .collect();
    fs::write(desk.path("people.csv"), list).unwrap();
    let command = [
        "send",
        "people.csv",
        "--inviter",
        "ada",
        "--no-wait",
        "--report",
        "report.csv",
    ];
    let mut child = desk
        .command(&command)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Over one connection: making one may take longer than all that is left to send.
    let mut database = desk.world.database().await;
    timeout(COMMAND_TIMEOUT, async {
        while count(&mut database, "invitations").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    // SIGKILL: nothing is tidied up.
    child.kill().await.unwrap();
    assert!(desk.path("report.csv.resume.json").exists());
    // It may end in the middle of a row; what comes before is a report.
    let written = fs::read_to_string(desk.path("report.csv")).unwrap();
    let whole = written.rfind('\n').map_or(0, |end| end + 1);
    fs::write(desk.path("whole.csv"), &written[..whole]).unwrap();
    let rows = report(&desk.path("whole.csv"));
    assert!(rows.len() < ROWS, "it had no time to end");
    assert!(rows.iter().all(|row| row["outcome"] == "created"));

    let resumed = desk.run(&[&command[..], &["--resume"]].concat(), b"").await;
    assert_eq!(resumed.code, Some(0), "{}", resumed.told);
    let expected = i64::try_from(ROWS).unwrap();
    assert_eq!(desk.count("invitations").await, expected);
    assert_eq!(desk.count("outbox").await, expected);
    let rows = report(&desk.path("report.csv"));
    assert!(
        rows.len() == ROWS && rows.iter().all(|row| row["outcome"] == "created"),
        "the report is that of the whole list"
    );
    assert!(!desk.path("report.csv.resume.json").exists());
}

/// A running `watch`, and what it prints.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(desk: &Desk) -> Self {
        let arguments = [
            "watch",
            "--from-start",
            "--format",
            "json",
            "--cursor-file",
            "acme.cursor",
        ];
        let mut child = desk
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
async fn a_watch_that_ended_goes_on_behind_what_it_showed() {
    let desk = Desk::new().await;
    let response = desk.world.invite(&["a@example.com"]).await;
    let mut watching = Watching::start(&desk);
    let event = watching.next().await;
    assert_eq!(event["type"], "CREATED");
    assert_eq!(event["batch_id"], response.batch_id.as_str());
    timeout(COMMAND_TIMEOUT, async {
        while !desk.path("acme.cursor").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    watching.child.kill().await.unwrap();
    let response = desk.world.invite(&["b@example.com"]).await;
    let mut watching = Watching::start(&desk);
    let mut next = watching.next().await;
    // At least once: it may have been killed before it wrote down that it had shown this.
    if next["id"] == event["id"] {
        next = watching.next().await;
    }
    assert_eq!(next["batch_id"], response.batch_id.as_str());
}
