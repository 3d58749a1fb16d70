//! A list from the command line to a service and back.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::*;
use crate::fake_server::{FakeServer, TOKEN, serve};
use clap::Parser;
use tempfile::TempDir;
use tonic::Status;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: SendArgs,
}

/// Runs `send` on a file of this content against this service.
async fn send(
    server: &Arc<FakeServer>,
    file: &str,
    more: &[&str],
) -> (Result<Exit, CommandError>, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("people.csv");
    fs::write(&path, file).unwrap();
    send_file(server, &path, more).await
}

/// Runs `send` on this file against this service.
async fn send_file(
    server: &Arc<FakeServer>,
    path: &Path,
    more: &[&str],
) -> (Result<Exit, CommandError>, String) {
    let (address, serving) = serve(Arc::clone(server));
    let path = path.to_str().unwrap();
    let mut line = vec!["send", path, "--organization", "acme"];
    if !more.contains(&"--server") {
        line.extend(["--server", &address]);
    }
    if !more.contains(&"--token") {
        line.extend(["--token", TOKEN]);
    }
    line.extend(more);
    let mut args = Line::parse_from(line).args;
    if more.contains(&"--server") {
        // The name of the service stays what a later command has, wherever it listens this time.
        args.connection = crate::connection::ConnectionArgs::for_tests(&address, Some(TOKEN));
    }
    let mut out = Vec::new();
    let result = tokio::select! {
        result = run(&args, &mut out) => result,
        end = serving => panic!("the service ended: {end:?}"),
    };
    (result, String::from_utf8(out).unwrap())
}

/// A list of so many people, and what its report says of them.
fn people(count: usize) -> (String, String) {
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
fn rows_of(report: &Path) -> String {
    let text = fs::read_to_string(report).unwrap();
    text.split_once('\n').unwrap().1.to_owned()
}

fn server(mails_per_look: usize) -> Arc<FakeServer> {
    Arc::new(FakeServer {
        mails_per_look,
        ..FakeServer::default()
    })
}

#[tokio::test]
async fn a_file_is_sent_and_its_mails_are_followed() {
    let server = server(2);
    *server.refusals.lock().unwrap() = 1;
    let file = "email\na@b.co\nplain\nA@b.co\t\nc@d.co\ngone@d.co\n";
    let (result, out) = send(&server, file, &[]).await;
    assert_eq!(result.unwrap(), Exit::Partly);
    let last = out.lines().last().unwrap();
    assert_eq!(
        last,
        "invited 3 of 5: 3 created, 0 existing, 0 resent, 0 replaced, 2 refused; \
         2 mails sent, 0 deferred, 1 failed, 0 waiting, 0 canceled"
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
    assert_eq!(headers.len(), 2, "one call, made again once");
    assert_eq!(headers[0].request_id, headers[1].request_id);
}

#[tokio::test]
async fn all_good_rows_end_with_success() {
    let (result, out) = send(&server(10), "email\na@b.co\n", &["--all"]).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    assert!(out.contains("invitation-0"), "{out}");
}

#[tokio::test]
async fn waiting_ends_with_its_time() {
    let (result, out) = send(&server(0), "email\na@b.co\n", &["--wait-timeout", "100ms"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.contains("1 waiting"), "{out}");
    let (result, out) = send(&server(0), "email\na@b.co\n", &["--no-wait"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.ends_with("1 mails queued, not waited for\n"), "{out}");
}

#[tokio::test]
async fn an_atomic_list_fits_one_call_and_can_be_read() {
    let (service, id) = (server(0), "0192f0c1-2d3e-7a4b-8c5d-6e7f80910111");
    let options = ["--atomic", "--no-wait", "--request-id", id];
    let (result, out) = send(&service, "email\na@b.co\n", &options).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    let (result, _) = send(&service, &people(10_001).0, &options).await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("of up to 10000 rows"), "{message}");
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
        "line 4: has 1 cell",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(*service.request_ids.lock().unwrap(), [id]);
}

#[tokio::test]
async fn a_list_of_any_length_is_one_stream_in_messages_of_some_hundred() {
    let service = server(0);
    let (file, expected) = people(20_000);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    let (result, out) = send(&service, &file, &options).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.contains("invited 20000 of 20000: "), "{out}");
    assert!(rows_of(&report) == expected, "each row in its place");
    assert_eq!(service.memory.headers.lock().unwrap().len(), 1);
    let most = *service.memory.message_items_max.lock().unwrap();
    assert!((100..=500).contains(&most), "{most}");
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_where_it_broke() {
    let service = server(0);
    service.memory.breaks.lock().unwrap().extend([
        (2, Status::unavailable("restarting")),
        (3, Status::aborted("lost against others")),
        (0, Status::unavailable("restarting still")),
    ]);
    let (file, expected) = people(3_000);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    let (result, _) = send(&service, &file, &options).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(
        rows_of(&report) == expected,
        "nobody twice and nobody left out"
    );
    assert_eq!(service.memory.invitations.lock().unwrap().len(), 3_000);
    let headers = service.memory.headers.lock().unwrap();
    let places: Vec<_> = headers.iter().map(|header| header.first_index).collect();
    assert_eq!(places, [0, 600, 1_500, 1_500]);
    assert!(
        headers
            .iter()
            .all(|header| header.request_id == headers[0].request_id)
    );
}

#[tokio::test]
async fn a_dry_run_that_breaks_goes_on_as_a_list_of_its_own() {
    let service = server(0);
    let breaks = [(2, Status::unavailable("restarting"))];
    service.memory.breaks.lock().unwrap().extend(breaks);
    let (result, out) = send(&service, &people(1_000).0, &["--dry-run"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.contains("would invite 1000 of 1000: "), "{out}");
    assert!(service.memory.invitations.lock().unwrap().is_empty());
    let headers = service.memory.headers.lock().unwrap();
    assert_eq!(headers.len(), 2);
    for header in &*headers {
        assert_eq!((header.first_index, header.request_id.as_str()), (0, ""));
        assert!(header.validate_only);
    }
}

#[tokio::test]
async fn a_send_that_was_cut_off_is_taken_up() {
    let service = server(0);
    let breaks = [(2, Status::internal("a fault"))];
    service.memory.breaks.lock().unwrap().extend(breaks);
    let folder = TempDir::new().unwrap();
    let (list, report) = (
        folder.path().join("people.csv"),
        folder.path().join("report.csv"),
    );
    let state = folder.path().join("report.csv.resume.json");
    let (file, expected) = people(1_500);
    fs::write(&list, &file).unwrap();
    let report_text = report.to_str().unwrap();
    let options = ["--no-wait", "--server", "http://x", "--report", report_text];
    let resume = [&options[..], &["--resume"]].concat();

    let failure = send_file(&service, &list, &resume).await.0.unwrap_err();
    assert!(
        failure.to_string().contains("nothing to resume"),
        "{failure}"
    );
    let failure = send_file(&service, &list, &options).await.0.unwrap_err();
    assert!(
        failure.to_string().contains("600 rows were answered"),
        "{failure}"
    );
    assert!(failure.to_string().contains("--resume"), "{failure}");
    assert!(rows_of(&report) == expected[..rows_of(&report).len()]);
    assert_eq!(rows_of(&report).lines().count(), 600);

    let failure = send_file(&service, &list, &options).await.0.unwrap_err();
    assert!(failure.to_string().contains("did not end"), "{failure}");
    // Listening elsewhere must not count here: the address is a new one for each command of this test.
    let text = fs::read_to_string(&state).unwrap();
    let anew = |server: &str| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["server"] = server.into();
        fs::write(&state, value.to_string()).unwrap();
    };
    let (address, serving) = serve(Arc::clone(&service));
    anew(&address);
    let line = [
        "send",
        list.to_str().unwrap(),
        "--organization",
        "acme",
        "--token",
        TOKEN,
    ];
    let line = [
        &line[..],
        &["--server", &address],
        &["--no-wait", "--report", report_text, "--resume"],
    ];
    let line = line.concat();
    let commands = async {
        let run_with = async |more: &[&str]| {
            let args = Line::parse_from(line.iter().chain(more)).args;
            run(&args, &mut Vec::new()).await
        };
        let failure = run_with(&["--role", "admin"]).await.unwrap_err();
        assert!(
            failure.to_string().contains("the options are others"),
            "{failure}"
        );
        fs::write(&list, format!("{file}more@b.co\n")).unwrap();
        let failure = run_with(&[]).await.unwrap_err();
        assert!(
            failure.to_string().contains("the list was changed"),
            "{failure}"
        );
        assert_eq!(
            service.memory.headers.lock().unwrap().len(),
            1,
            "nothing was sent"
        );
        fs::write(&list, &file).unwrap();
        assert_eq!(run_with(&[]).await.unwrap(), Exit::Done);
    };
    tokio::select! {
        () = commands => {}
        end = serving => panic!("the service ended: {end:?}"),
    }
    assert!(
        rows_of(&report) == expected,
        "the report is that of the whole list"
    );
    assert!(!state.exists(), "there is nothing left to take up");
    assert_eq!(service.memory.invitations.lock().unwrap().len(), 1_500);
    let headers = service.memory.headers.lock().unwrap();
    assert_eq!((headers.len(), headers[1].first_index), (2, 0));
    assert_eq!(headers[0].request_id, headers[1].request_id);
}

#[tokio::test]
async fn a_refusal_leaves_nothing_to_take_up() {
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("people.csv");
    fs::write(&list, "email\na@b.co\n").unwrap();
    let (result, _) = send_file(&server(0), &list, &["--token", "invc_bad"]).await;
    assert!(result.is_err());
    assert!(!folder.path().join("people.csv.resume.json").exists());
}

#[tokio::test]
async fn rows_that_cannot_be_read_do_not_stop_the_others() {
    let service = server(10);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let file = "email,ttl\nx@b.co\na@b.co,1d\nb@b.co,soon\nc@d.co,\n\nd@d.co,1d,x\n";
    let options = ["--report", report.to_str().unwrap()];
    let (result, out) = send(&service, file, &options).await;
    assert_eq!(result.unwrap(), Exit::Partly);
    assert!(out.contains("3 ROW_UNREADABLE"), "{out}");
    let rows = rows_of(&report);
    let starts = [
        "2,x@b.co,refused,ROW_UNREADABLE,\"has 1 cell",
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
    assert_eq!(result.unwrap(), Exit::Partly, "{out}");
    assert_eq!(
        service.memory.headers.lock().unwrap().len(),
        1,
        "nobody to send"
    );
}

#[tokio::test]
async fn a_file_that_is_no_list_is_not_sent_at_all() {
    let service = server(0);
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("people.csv");
    for (file, told) in [
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
        assert!(failure.to_string().contains(told), "{failure}");
        assert!(
            !folder.path().join("people.csv.resume.json").exists(),
            "{told}"
        );
    }
    assert!(service.memory.headers.lock().unwrap().is_empty());
}

/// What a pipe and the command may hold of a list: pages of the pipe and of its reader, rows ahead and on their way.
const HELD_MAX: usize = 8_000;

#[tokio::test]
async fn a_pipe_is_sent_while_it_is_written_and_never_held() {
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
        let mut held_max = 0;
        pipe.write_all(b"email\n").unwrap();
        for hundred in 0..count / 100 {
            let mut rows = String::new();
            for index in hundred * 100..(hundred + 1) * 100 {
                let _ = writeln!(rows, "{}{index:06}@b.co", "p".repeat(50));
            }
            pipe.write_all(rows.as_bytes()).unwrap();
            let made = memory.invitations.lock().unwrap().len();
            held_max = held_max.max((hundred + 1) * 100 - made);
        }
        held_max
    });
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    let (result, out) = send_file(&service, &list, &options).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    assert!(out.contains("invited 200000 of 200000: "), "{out}");
    let held_max = writer.join().unwrap();
    assert!((100..HELD_MAX).contains(&held_max), "{held_max}");
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
async fn mails_of_a_long_list_are_counted_and_the_failed_ones_named() {
    let service = server(20_000);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let mut file = people(12_000).0;
    file.push_str("gone@b.co\n");
    let options = ["--report", report.to_str().unwrap()];
    let (result, out) = send(&service, &file, &options).await;
    assert_eq!(result.unwrap(), Exit::Partly);
    assert!(
        out.contains("12000 mails sent, 0 deferred, 1 failed"),
        "{out}"
    );
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
async fn the_report_has_a_row_for_each_row() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("report.csv");
    let file = "email;role\n\"a@b.co\";admin\n=plain;\n";
    let options = ["--report", path.to_str().unwrap()];
    let (result, _) = send(&server(10), file, &options).await;
    assert_eq!(result.unwrap(), Exit::Partly);
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "line,email,outcome,reason,explanation,invitation_id,batch_id,mail,mail_error\n\
         2,a@b.co,created,,,invitation-0,batch-1,sent,\n\
         3,'=plain,refused,EMAIL_INVALID,the address is not one that mail can reach,,,,\n"
    );
}

#[tokio::test]
async fn a_file_of_json_lines_is_sent_too() {
    let file = "{\"email\":\"a@b.co\"}\n";
    let (result, out) = send(&server(10), file, &["--format", "ndjson"]).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
}

#[tokio::test]
async fn a_wrong_token_is_told() {
    let (result, out) = send(&server(0), "email\na@b.co\n", &["--token", "invc_bad"]).await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.starts_with("BulkCreateStream failed: UNAUTHENTICATED"),
        "{message}"
    );
    assert!(message.contains("--token-file"), "{message}");
    assert_eq!(out, "");
}
