//! Tests of `send` over streams: their messages, and what happens after a break or an interruption.

use std::fs;

use tempfile::TempDir;
use tonic::Status;

use super::send_tests::{people, rows_of, send, send_file, send_words, server};
use super::*;

#[tokio::test]
async fn a_long_list_is_one_stream_with_messages_of_at_most_500_items() {
    let service = server(0);
    let (file, expected) = people(20_000);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    let (result, out) = send(&service, &file, &options).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.contains("invited 20000 of 20000: "), "{out}");
    assert!(rows_of(&report) == expected, "each row is in its place");
    assert_eq!(service.memory.headers.lock().unwrap().len(), 1);
    let most = *service.memory.message_items_max.lock().unwrap();
    assert!((100..=500).contains(&most), "{most}");
}

#[tokio::test]
async fn a_broken_stream_continues_with_the_first_unanswered_row() {
    let service = server(0);
    service.memory.breaks.lock().unwrap().extend([
        (2, Status::unavailable("restarting")),
        (3, Status::aborted("serialization failure")),
        (0, Status::unavailable("still restarting")),
    ]);
    let (file, expected) = people(3_000);
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.csv");
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    let (result, _) = send(&service, &file, &options).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(rows_of(&report) == expected, "each person is invited once");
    assert_eq!(service.memory.invitations.lock().unwrap().len(), 3_000);
    let headers = service.memory.headers.lock().unwrap();
    let indexes: Vec<_> = headers.iter().map(|header| header.first_index).collect();
    assert_eq!(indexes, [0, 600, 1_500, 1_500]);
    assert!(
        headers
            .iter()
            .all(|header| header.request_id == headers[0].request_id)
    );
}

#[tokio::test]
async fn a_broken_dry_run_continues_with_a_new_list() {
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
async fn an_interrupted_send_is_resumed_by_the_same_command() {
    let service = server(0);
    let breaks = [(2, Status::internal("a fault"))];
    service.memory.breaks.lock().unwrap().extend(breaks);
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("people.csv");
    let report = folder.path().join("report.csv");
    let state = folder.path().join("report.csv.resume.json");
    let (file, expected) = people(1_500);
    fs::write(&list, &file).unwrap();
    let options = ["--no-wait", "--report", report.to_str().unwrap()];
    with_server(&service, async |address| {
        let run_with = async |more: &[&str]| {
            let words = send_words(&list, &[&options, more].concat());
            run_at(address, &words, &mut Vec::new()).await
        };
        let fails_with = async |more: &[&str], text: &str| {
            let message = run_with(more).await.unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
            message
        };
        fails_with(&["--resume"], "nothing to resume").await;
        let message = fails_with(&[], "600 rows were answered").await;
        assert!(message.contains("--resume"), "{message}");
        let rows = rows_of(&report);
        assert!(expected.starts_with(&rows));
        assert_eq!(rows.lines().count(), 600);

        fails_with(&[], "an earlier send was interrupted").await;
        let changed_options = ["--resume", "--role", "admin"];
        fails_with(&changed_options, "(different options)").await;
        fs::write(&list, format!("{file}more@b.co\n")).unwrap();
        fails_with(&["--resume"], "(different list)").await;
        assert_eq!(
            service.memory.headers.lock().unwrap().len(),
            1,
            "nothing was sent"
        );
        fs::write(&list, &file).unwrap();
        assert_eq!(run_with(&["--resume"]).await.unwrap(), Exit::Done);
    })
    .await;
    assert!(
        rows_of(&report) == expected,
        "the report covers the whole list"
    );
    assert!(!state.exists(), "there is nothing left to resume");
    assert_eq!(service.memory.invitations.lock().unwrap().len(), 1_500);
    let headers = service.memory.headers.lock().unwrap();
    assert_eq!((headers.len(), headers[1].first_index), (2, 0));
    assert_eq!(headers[0].request_id, headers[1].request_id);
}

#[tokio::test]
async fn a_send_to_another_server_is_not_resumed() {
    let service = server(0);
    let breaks = [(0, Status::internal("a fault"))];
    service.memory.breaks.lock().unwrap().extend(breaks);
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("people.csv");
    fs::write(&list, "email\na@b.co\n").unwrap();
    let (result, _) = send_file(&service, &list, &[]).await;
    assert!(result.is_err());
    // Each call of `send_file` starts a server with a new address.
    let (result, _) = send_file(&service, &list, &["--resume"]).await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("(different server)"), "{message}");
}

#[tokio::test]
async fn a_rejected_send_leaves_no_resume_file() {
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("people.csv");
    fs::write(&list, "email\na@b.co\n").unwrap();
    let (result, _) = send_file(&server(0), &list, &["--token", "invc_bad"]).await;
    assert!(result.is_err());
    assert!(!folder.path().join("people.csv.resume.json").exists());
}
