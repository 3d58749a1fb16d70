//! Tests of the command `resend`.

use super::*;
use crate::proto::{BulkResendRequest, InvitationState};
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

#[tokio::test]
async fn states_and_the_acting_user_reach_the_server() {
    let server = Arc::new(FakeServer::default());
    let options =
        "--batch b --state pending --state expired --rotate --expires-in 14d --acting-user u-1";
    let options: Vec<_> = options.split(' ').collect();
    let (result, _) = resend(&server, &options).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let request = &server.requests.all::<BulkResendRequest>()[0];
    let filter = request.filter.clone().unwrap();
    let states: Vec<_> = filter.states().collect();
    assert_eq!(states, [InvitationState::Pending, InvitationState::Expired]);
    assert_eq!(request.acting_user_id, "u-1");
    assert!(request.rotate_token && !request.all);
    resend(&server, &["--all"]).await.0.unwrap();
    let requests = server.requests.all::<BulkResendRequest>();
    let last = requests.last().unwrap();
    assert!(last.all && last.filter.is_none());
    assert_eq!(last.page_token, "more");
}
