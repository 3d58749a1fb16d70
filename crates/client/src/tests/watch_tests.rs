//! Tests of the command `watch`.

use std::fs;
use std::io;

use tempfile::TempDir;
use tonic::Status;

use super::*;
use crate::proto::{InvitationEvent, InvitationEventType, WatchRequest};

/// Reads a number of lines and then closes the output.
struct LineReader {
    lines: Vec<String>,
    line_count: usize,
}

impl Write for LineReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lines.len() >= self.line_count {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for line in String::from_utf8(bytes.to_vec())
            .unwrap()
            .split_inclusive('\n')
        {
            match self.lines.last_mut() {
                Some(last) if !last.ends_with('\n') => last.push_str(line),
                _ => self.lines.push(line.to_owned()),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let is_whole = self.lines.last().is_some_and(|line| line.ends_with('\n'));
        if self.lines.len() >= self.line_count && is_whole {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

fn server(events: usize) -> Arc<FakeServer> {
    let server = Arc::new(FakeServer::default());
    let event = |index| InvitationEvent {
        id: format!("event-{index}"),
        r#type: InvitationEventType::Sent.into(),
        invitation_id: format!("invitation-{index}"),
        batch_id: "batch-1".to_owned(),
        organization_id: "acme".to_owned(),
        event_time: Some(prost_types::Timestamp {
            seconds: 1_798_859_045,
            nanos: 0,
        }),
    };
    let events = (0..events).map(event);
    server.memory.events.lock().unwrap().extend(events);
    server
}

/// Watches until the reader has this many lines.
async fn watch(
    server: &Arc<FakeServer>,
    line_count: usize,
    options: &[&str],
) -> (CommandResult, Vec<String>) {
    let words = [&["watch", "--organization", "acme"], options].concat();
    watch_with(server, line_count, &words).await
}

async fn watch_with(
    server: &Arc<FakeServer>,
    line_count: usize,
    words: &[&str],
) -> (CommandResult, Vec<String>) {
    let mut reader = LineReader {
        lines: Vec::new(),
        line_count,
    };
    let result = with_server(server, async |address| {
        run_at(address, words, &mut reader).await
    })
    .await;
    (result, reader.lines)
}

#[tokio::test]
async fn each_event_is_one_line_until_the_reader_ends() {
    let (result, lines) = watch(&server(7), 7, &["--from-start"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert_eq!(
        lines[0],
        "2027-01-02T03:04:05Z sent       invitation-0 batch-1\n"
    );
    assert_eq!(lines.len(), 7);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_without_duplicate_lines() {
    let server = server(20);
    let breaks = [
        (2, Status::unavailable("restarting")),
        (1, Status::aborted("lost")),
        (3, Status::unavailable("restarting")),
    ];
    server.memory.breaks.lock().unwrap().extend(breaks);
    let (result, lines) = watch(&server, 20, &["--from-start", "--format", "json"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let ids: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone())
        .collect();
    let expected: Vec<_> = (0..20).map(|index| format!("event-{index}")).collect();
    assert_eq!(ids, expected);
    let cursors = server.memory.cursors.lock().unwrap().clone();
    assert_eq!(cursors, ["", "6", "8", "16"]);
}

#[tokio::test]
async fn a_cursor_never_skips_an_event() {
    let server = server(5);
    let (_, lines) = watch(&server, 5, &["--from-start", "--format", "json"]).await;
    let cursors: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["cursor"].clone())
        .collect();
    assert_eq!(cursors, ["", "", "3", "3", "5"]);
    let (_, lines) = watch(&server, 2, &["--cursor", "3"]).await;
    assert!(lines[1].contains("invitation-3"), "{lines:?}");
}

#[tokio::test]
async fn a_later_command_continues_from_the_cursor_file() {
    let server = server(6);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cursor");
    let options = ["--from-start", "--cursor-file", path.to_str().unwrap()];
    let (result, lines) = watch(&server, 6, &options).await;
    assert_eq!((result.unwrap(), lines.len()), (Exit::Done, 6));
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "3\n",
        "the lines of the last response may be printed again"
    );
    let (_, lines) = watch(&server, 4, &options).await;
    assert!(lines[1].contains("invitation-3"), "{lines:?}");
    assert_eq!(*server.memory.cursors.lock().unwrap(), ["", "3"]);
}

#[tokio::test]
async fn without_a_cursor_only_new_events_are_printed() {
    let server = server(3);
    let memory = Arc::clone(&server.memory);
    let options = ["--format", "text"];
    let watching = watch(&server, 1, &options);
    let adding = async {
        while memory.cursors.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let event = InvitationEvent {
            id: "new".to_owned(),
            r#type: 99,
            ..Default::default()
        };
        memory.events.lock().unwrap().push(event);
    };
    let ((_, lines), ()) = tokio::join!(watching, adding);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("type_99"), "{lines:?}");
}

#[tokio::test]
async fn an_invalid_cursor_is_not_retried() {
    let (result, _) = watch(&server(0), 1, &["--cursor", "none"]).await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.starts_with("Watch failed: INVALID_ARGUMENT"),
        "{message}"
    );
}

#[tokio::test]
async fn events_of_all_organizations_are_watched_by_type() {
    let server = server(1);
    let words = "watch --from-start --type sent --type bounced";
    let words: Vec<_> = words.split(' ').collect();
    let (result, lines) = watch_with(&server, 1, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert_eq!(
        lines[0].trim_end(),
        "2027-01-02T03:04:05Z sent       invitation-0 batch-1 acme"
    );
    let request = &server.requests.all::<WatchRequest>()[0];
    assert_eq!(request.organization_id, "");
    let types: Vec<_> = request.types().collect();
    assert_eq!(
        types,
        [InvitationEventType::Sent, InvitationEventType::Bounced]
    );
}
