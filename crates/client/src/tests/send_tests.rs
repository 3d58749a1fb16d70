//! Tests of the command `send`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::proto::{BulkCreateRequest, Delivery, DeliveryState, Invitation, InvitationView};

/// Runs `send` with a file of this content.
pub(super) async fn send(
    server: &Arc<FakeServer>,
    file: &str,
    options: &[&str],
) -> (CommandResult, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("people.csv");
    fs::write(&path, file).unwrap();
    send_file(server, &path, options).await
}

pub(super) async fn send_file(
    server: &Arc<FakeServer>,
    path: &Path,
    options: &[&str],
) -> (CommandResult, String) {
    run_command(server, &send_words(path, options)).await
}

pub(super) fn send_words<'words>(path: &'words Path, options: &[&'words str]) -> Vec<&'words str> {
    let words = ["send", path.to_str().unwrap(), "--organization", "acme"];
    [&words, options].concat()
}

/// A list of this many people, and the rows of its report.
pub(super) fn people(count: usize) -> (String, String) {
    let mut file = "email\n".to_owned();
    let mut report = String::new();
    for index in 0..count {
        let _ = writeln!(file, "p{index}@b.co");
        let line = index + 2;
        let _ = writeln!(
            report,
            "{line},p{index}@b.co,created,,,invitation-{index},batch-1,queued,"
        );
    }
    (file, report)
}

/// The rows of a report, without its header.
pub(super) fn rows_of(report: &Path) -> String {
    let text = fs::read_to_string(report).unwrap();
    text.split_once('\n').unwrap().1.to_owned()
}

pub(super) fn server(emails_per_read: usize) -> Arc<FakeServer> {
    Arc::new(FakeServer {
        emails_per_read,
        ..FakeServer::default()
    })
}

#[tokio::test]
async fn a_file_is_sent_and_its_emails_are_waited_for() {
    let server = server(2);
    *server.refusals.lock().unwrap() = 1;
    let file = "email\na@b.co\nplain\nA@b.co\t\nc@d.co\ngone@d.co\n";
    let (result, out) = send(&server, file, &[]).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    let last = out.lines().last().unwrap();
    assert_eq!(
        last,
        "invited 3 of 5: 3 created, 0 existing, 0 resent, 0 replaced, 2 refused; \
         emails: 2 sent, 0 deferred, 1 failed, 0 waiting, 0 canceled"
    );
    for part in [
        "A@b.co\\t",
        "(line 2)",
        "550 5.1.1 no such user here",
        "1 DUPLICATE_IN_REQUEST",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let headers = server.memory.headers.lock().unwrap();
    assert_eq!(headers.len(), 2, "one call and one retry");
    assert_eq!(headers[0].request_id, headers[1].request_id);
}

#[tokio::test]
async fn a_list_without_refused_rows_ends_with_status_0() {
    let (result, out) = send(&server(10), "email\na@b.co\n", &["--all"]).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    assert!(out.contains("invitation-0"), "{out}");
}

#[tokio::test]
async fn waiting_ends_with_the_timeout() {
    let (result, out) = send(&server(0), "email\na@b.co\n", &["--wait-timeout", "100ms"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.contains("1 waiting"), "{out}");
    let (result, out) = send(&server(0), "email\na@b.co\n", &["--no-wait"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.ends_with("emails: 1 queued\n"), "{out}");
}

#[tokio::test]
async fn an_atomic_list_must_fit_one_call_and_have_no_unreadable_rows() {
    let (service, id) = (server(0), "0192f0c1-2d3e-7a4b-8c5d-6e7f80910111");
    let options = ["--atomic", "--no-wait", "--request-id", id];
    let (result, out) = send(&service, "email\na@b.co\n", &options).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    let (result, _) = send(&service, &people(10_001).0, &options).await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("at most 10000 rows"), "{message}");
    let (result, _) = send(
        &service,
        "email,ttl\na@b.co,1d\nb@b.co,soon\nc@b.co\n",
        &options,
    )
    .await;
    let message = result.unwrap_err().to_string();
    for part in [
        "nothing was sent",
        "line 3: ttl \"soon\"",
        "line 4: the row has 1 cell",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(*service.request_ids.lock().unwrap(), [id]);
}

#[tokio::test]
async fn unreadable_rows_do_not_stop_the_others() {
    let service = server(10);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let file = "email,ttl\nx@b.co\na@b.co,1d\nb@b.co,soon\nc@d.co,\n\nd@d.co,1d,x\n";
    let options = ["--report", report.to_str().unwrap()];
    let (result, out) = send(&service, file, &options).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    assert!(out.contains("3 ROW_UNREADABLE"), "{out}");
    let rows = rows_of(&report);
    let starts = [
        "2,x@b.co,refused,ROW_UNREADABLE,\"the row has 1 cell",
        "3,a@b.co,created,,,invitation-0,batch-1,sent",
        "4,b@b.co,refused,ROW_UNREADABLE,\"ttl",
        "5,c@d.co,created,",
        "7,d@d.co,refused,ROW_UNREADABLE,",
    ];
    assert_eq!(rows.lines().count(), starts.len(), "{rows}");
    for (row, start) in rows.lines().zip(starts) {
        assert!(row.starts_with(start), "{row}");
    }
    let (result, out) = send(&service, "email,ttl\nx@b.co\n", &[]).await;
    assert_eq!(result.unwrap(), Exit::Partial, "{out}");
    assert_eq!(
        service.memory.headers.lock().unwrap().len(),
        1,
        "there was nothing to send"
    );
}

#[tokio::test]
async fn a_file_that_is_not_a_list_is_not_sent() {
    let service = server(0);
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("people.csv");
    for (file, problem) in [
        (
            &b"email\na@b.co\nm\xfcller@b.co\n"[..],
            "byte 2 of line 3 is not UTF-8",
        ),
        (b"\xff\xfee\0", "the file is UTF-16"),
        (b"email,name\na@b.co,A\n", "unknown column \"name\""),
        (b"email\n", "the file has a header but no rows"),
        (b"", "the file is empty"),
    ] {
        fs::write(&list, file).unwrap();
        let failure = send_file(&service, &list, &[]).await.0.unwrap_err();
        assert!(matches!(failure, CommandError::Usage(_)), "{failure}");
        assert!(failure.to_string().contains(problem), "{failure}");
        assert!(
            !folder.path().join("people.csv.resume.json").exists(),
            "{problem}"
        );
    }
    assert!(service.memory.headers.lock().unwrap().is_empty());
}

/// Most rows between the writer of a pipe and the server: in the pipe, in the reader, and in the window of the sender.
const ROWS_IN_FLIGHT_MAX: usize = 8_000;

#[tokio::test]
async fn a_pipe_is_sent_while_it_is_written() {
    let count = 200_000;
    let service = server(0);
    let folder = TempDir::new().unwrap();
    let (list, report) = (
        folder.path().join("people"),
        folder.path().join("report.csv"),
    );
    assert!(
        Command::new("mkfifo")
            .arg(&list)
            .status()
            .unwrap()
            .success()
    );
    let (memory, pipe) = (Arc::clone(&service.memory), list.clone());
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        let mut pipe = fs::File::create(pipe).unwrap();
        let mut in_flight_max = 0;
        pipe.write_all(b"email\n").unwrap();
        for hundred in 0..count / 100 {
            let mut rows = String::new();
            for index in hundred * 100..(hundred + 1) * 100 {
                let _ = writeln!(rows, "{}{index:06}@b.co", "p".repeat(50));
            }
            pipe.write_all(rows.as_bytes()).unwrap();
            let created = memory.invitations.lock().unwrap().len();
            in_flight_max = in_flight_max.max((hundred + 1) * 100 - created);
        }
        in_flight_max
    });
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    let (result, out) = send_file(&service, &list, &options).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    assert!(out.contains("invited 200000 of 200000: "), "{out}");
    let in_flight_max = writer.join().unwrap();
    assert!(
        (100..ROWS_IN_FLIGHT_MAX).contains(&in_flight_max),
        "{in_flight_max}"
    );
    for (row, line) in rows_of(&report).lines().zip(2..) {
        assert!(row.starts_with(&format!("{line},")), "{row}");
    }
    let failure = send_file(&service, &list, &["--resume"])
        .await
        .0
        .unwrap_err();
    assert!(
        failure.to_string().contains("--resume needs a file"),
        "{failure}"
    );
}

#[tokio::test]
async fn failed_emails_of_a_long_list_are_reported_by_row() {
    let service = server(20_000);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let mut file = people(12_000).0;
    file.push_str("gone@b.co\n");
    let options = ["--report", report.to_str().unwrap()];
    let (result, out) = send(&service, &file, &options).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    assert!(out.contains("12000 sent, 0 deferred, 1 failed"), "{out}");
    let rows = rows_of(&report);
    assert_eq!(
        rows.lines().filter(|row| row.ends_with(",sent,")).count(),
        12_000
    );
    let last = rows.lines().last().unwrap();
    assert!(
        last.ends_with(",failed,550 5.1.1 no such user here"),
        "{last}"
    );
}

#[tokio::test]
async fn the_report_file_has_one_row_per_row_of_the_list() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("report.csv");
    let file = "email;role\n\"a@b.co\";admin\n=plain;\n";
    let options = ["--report", path.to_str().unwrap()];
    let (result, _) = send(&server(10), file, &options).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "line,email,outcome,reason,explanation,invitation_id,batch_id,mail,mail_error\n\
         2,a@b.co,created,,,invitation-0,batch-1,sent,\n\
         3,'=plain,refused,EMAIL_INVALID,the address is not valid,,,,\n"
    );
}

#[tokio::test]
async fn emails_of_invitations_that_existed_before_are_waited_for() {
    let service = server(10);
    let old = |id: &str| Invitation {
        id: id.to_owned(),
        email: "gone@b.co".to_owned(),
        batch_id: "old".to_owned(),
        delivery: Some(Delivery {
            state: DeliveryState::Queued.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let invitations = &service.memory.invitations;
    invitations.lock().unwrap().push(old("invitation-old"));
    let file = "email\nresent@b.co\n";
    let (result, out) = send(&service, file, &["--on-existing", "resend"]).await;
    assert_eq!(result.unwrap(), Exit::Partial, "{out}");
    assert!(out.contains("550 5.1.1 no such user here"), "{out}");
    assert!(out.contains("1 resent"), "{out}");
    let emails = "; emails: 0 sent, 0 deferred, 1 failed, 0 waiting, 0 canceled\n";
    assert!(out.ends_with(emails), "{out}");
}

#[tokio::test]
async fn the_key_of_an_item_is_its_line_and_the_view_is_basic() {
    let service = server(10);
    send(&service, "email\n\na@b.co\n", &[]).await.0.unwrap();
    let options = ["--atomic", "--no-wait"];
    send(&service, "email\nb@b.co\n", &options).await.0.unwrap();
    let headers = service.memory.headers.lock().unwrap();
    assert_eq!(headers[0].view(), InvitationView::Basic);
    let requests = service.requests.all::<BulkCreateRequest>();
    assert_eq!(requests[0].view(), InvitationView::Basic);
    assert_eq!(requests[0].invitations[0].key, "2");
    assert_eq!(*service.memory.keys.lock().unwrap(), ["3"]);
}

#[tokio::test]
async fn a_file_of_json_lines_is_sent() {
    let file = "{\"email\":\"a@b.co\"}\n";
    let (result, out) = send(&server(10), file, &["--format", "ndjson"]).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
}

#[tokio::test]
async fn a_wrong_token_is_an_error_with_a_hint() {
    let (result, out) = send(&server(0), "email\na@b.co\n", &["--token", "invc_bad"]).await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.starts_with("BulkCreateStream failed: UNAUTHENTICATED"),
        "{message}"
    );
    assert!(message.contains("--token-file"), "{message}");
    assert_eq!(out, "");
}
