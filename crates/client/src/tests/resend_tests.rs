//! Tests of the command `resend`.

use super::*;
use crate::tests::fake_server::service::MISSING_ID;

const INVITATION_ID: &str = "01a204dc-9b39-7001-8c82-6b5f4d3569e3";

async fn resend(server: &Arc<FakeServer>, options: &[&str]) -> (CommandResult, String) {
    let words = [&["resend", "--organization", "acme"], options].concat();
    run_command(server, &words).await
}

#[tokio::test]
async fn each_page_has_its_own_request_id_which_a_retry_repeats() {
    let server = Arc::new(FakeServer::default());
    *server.refusals.lock().unwrap() = 1;
    let (result, out) = resend(&server, &["--delivery-state", "failed"]).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    assert_eq!(out, "resent 3 of 3: 0 refused\n");
    let ids = server.request_ids.lock().unwrap();
    assert_eq!(ids.len(), 3, "two pages, and one retry of the first page");
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

#[tokio::test]
async fn refused_invitations_are_printed_with_their_reason() {
    let server = Arc::new(FakeServer::default());
    let options = ["--id", INVITATION_ID, "--id", MISSING_ID, "--dry-run"];
    let (result, out) = resend(&server, &options).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    assert!(out.contains(MISSING_ID), "{out}");
    let last = out.lines().last().unwrap();
    assert_eq!(
        last,
        "would resend 1 of 2: 1 refused, 1 INVITATION_NOT_FOUND"
    );
    assert_eq!(*server.request_ids.lock().unwrap(), [""]);
}

#[test]
fn invitations_are_selected_by_id_or_by_a_filter() {
    let is_valid = |options: &str| {
        let line = format!("invitectl resend --organization acme {options}");
        CommandLine::try_parse_from(line.split_whitespace()).is_ok()
    };
    assert!(is_valid(&format!("--id {INVITATION_ID} --id {MISSING_ID}")));
    assert!(!is_valid("--id xyz"));
    assert!(is_valid(
        "--batch b --state pending --state expired --rotate --expires-in 14d"
    ));
    assert!(!is_valid(""));
    assert!(!is_valid("--rotate"));
    assert!(!is_valid(&format!("--id {INVITATION_ID} --batch b")));
}
