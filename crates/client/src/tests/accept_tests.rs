//! Tests of the command `accept`.

use super::*;
use crate::proto::AcceptRequest;
use crate::proto::accept_request::Target;

const INVITATION_ID: &str = "01a204dc-9b39-7001-8c82-6b5f4d3569e3";

async fn target(options: &[&str]) -> Option<Target> {
    let server = Arc::new(FakeServer::default());
    let words = [&["accept", "--user-id", "u-2"], options].concat();
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.starts_with("u-2 is now a member\n"), "{out}");
    server.requests.all::<AcceptRequest>()[0].target.clone()
}

#[tokio::test]
async fn an_invitation_is_accepted_by_its_link_or_its_id() {
    let link = "https://app.example.com/join#token=inv1_x";
    let token = Target::Token("inv1_x".to_owned());
    assert!(target(&["--link", link]).await == Some(token));
    let id = Target::InvitationId(INVITATION_ID.to_owned());
    assert!(target(&["--invitation-id", INVITATION_ID]).await == Some(id));
}
