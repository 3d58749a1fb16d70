//! Tests of the commands `list`, `revoke` and `outbox requeue`, which select invitations.

use super::*;
use crate::proto::{
    BulkRevokeRequest, Delivery, DeliveryState, Invitation, InvitationState, InvitationView,
    ListRequest, RequeueMessagesRequest,
};
use crate::tests::fake_server::service::{ENDED_ID, MISSING_ID};

const INVITATION_ID: &str = "01a204dc-9b39-7001-8c82-6b5f4d3569e3";

#[tokio::test]
async fn a_command_without_a_selection_makes_no_call() {
    for command in ["revoke", "resend", "outbox requeue"] {
        let server = Arc::new(FakeServer::default());
        let words: Vec<_> = command.split(' ').collect();
        let words = [&words[..], &["--organization", "acme"]].concat();
        let (result, out) = run_command(&server, &words).await;
        let failure = result.unwrap_err();
        assert!(matches!(failure, CommandError::Usage(_)), "{command}");
        assert!(failure.to_string().contains("--all"), "{failure}");
        assert_eq!(out, "");
        assert!(server.requests.is_empty(), "{command}");
    }
}

#[tokio::test]
async fn all_invitations_are_revoked_page_by_page() {
    let server = Arc::new(FakeServer::default());
    let words = ["revoke", "--organization", "acme", "--all"];
    let words = [&words[..], &["--acting-user", "u-1"]].concat();
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert_eq!(out, "revoked 3 of 3: 0 refused\n");
    let requests = server.requests.all::<BulkRevokeRequest>();
    let tokens: Vec<_> = requests.iter().map(|it| it.page_token.as_str()).collect();
    assert_eq!(tokens, ["", "more"]);
    for request in &requests {
        assert!(request.all && request.filter.is_none() && !request.validate_only);
        assert_eq!(request.acting_user_id, "u-1");
        assert_eq!(request.view(), InvitationView::Basic);
    }
}

#[tokio::test]
async fn a_revoked_list_counts_unchanged_and_refused_invitations() {
    let server = Arc::new(FakeServer::default());
    let mut words = vec!["revoke", "--organization", "acme", "--dry-run"];
    for id in [INVITATION_ID, ENDED_ID, MISSING_ID] {
        words.extend(["--id", id]);
    }
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    let last = "would revoke 1 of 3: 1 unchanged, 1 refused, 1 INVITATION_NOT_FOUND\n";
    assert!(out.ends_with(last), "{out}");
    let requests = server.requests.all::<BulkRevokeRequest>();
    assert!(requests[0].validate_only);
    assert_eq!(requests.len(), 1, "a list of ids has no pages");
}

#[tokio::test]
async fn a_filter_reaches_the_server() {
    let server = Arc::new(FakeServer::default());
    let words = "revoke --organization acme --batch b --inviter u --email a@b.co --delivery-state failed \
                 --delivery-state bounced";
    let words: Vec<_> = words.split_whitespace().collect();
    run_command(&server, &words).await.0.unwrap();
    let request = &server.requests.all::<BulkRevokeRequest>()[0];
    let filter = request.filter.clone().unwrap();
    assert_eq!(filter.batch_id(), "b");
    assert_eq!(filter.inviter_user_id(), "u");
    assert_eq!(filter.email(), "a@b.co");
    let states: Vec<_> = filter.delivery_states().collect();
    assert_eq!(states, [DeliveryState::Failed, DeliveryState::Bounced]);
    assert!(!request.all);
}

#[tokio::test]
async fn failed_emails_are_queued_again_page_by_page() {
    let server = Arc::new(FakeServer::default());
    let words = ["outbox", "requeue", "--organization", "acme", "--all"];
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert_eq!(out, "requeued 3 of 3: 0 refused\n");
    let requests = server.requests.all::<RequeueMessagesRequest>();
    let tokens: Vec<_> = requests.iter().map(|it| it.page_token.as_str()).collect();
    assert_eq!(tokens, ["", "more"]);
    let words = ["outbox", "requeue", "--organization", "acme"];
    let words = [&words[..], &["--batch", "b", "--dry-run"]].concat();
    let (_, out) = run_command(&server, &words).await;
    assert_eq!(out, "would requeue 3 of 3: 0 refused\n");
    let requests = server.requests.all::<RequeueMessagesRequest>();
    let last = requests.last().unwrap();
    assert!(last.validate_only && !last.all);
    assert_eq!(last.filter.as_ref().unwrap().batch_id(), "b");
}

#[tokio::test]
async fn invitations_are_listed_with_their_addresses() {
    let server = Arc::new(FakeServer::default());
    for index in 0..3 {
        let invitation = Invitation {
            id: format!("invitation-{index}"),
            email: format!("p{index}@b.co"),
            state: InvitationState::Pending.into(),
            delivery: Some(Delivery {
                state: DeliveryState::Failed.into(),
                last_error: "550".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        server.memory.invitations.lock().unwrap().push(invitation);
    }
    let words = ["list", "--organization", "acme", "--state", "pending"];
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.ends_with("\n3 invitations\n"), "{out}");
    let row = out.lines().find(|line| line.contains("p1@b.co")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["invitation-1", "p1@b.co", "pending", "failed"]);
    let words = ["list", "--organization", "acme", "--limit", "2", "--json"];
    let (_, out) = run_command(&server, &words).await;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["has_more"], true);
    assert_eq!(list["invitations"][1]["email"], "p1@b.co");
    assert_eq!(list["invitations"][1]["delivery"]["last_error"], "550");
    let requests = server.requests.all::<ListRequest>();
    let filter = requests[0].filter.as_ref().unwrap();
    assert_eq!(filter.states, [InvitationState::Pending as i32]);
    assert!(requests[1].filter.is_none());
    assert_eq!(requests[1].view(), InvitationView::Full);
}
