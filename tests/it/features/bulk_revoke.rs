//! `BulkRevoke`: revokes many invitations in one call, with a result for each.

use invitations::proto::{
    BulkRevokeRequest, BulkRevokeResponse, InvitationFilter, InvitationState, ItemError,
    RevokeOutcome,
};
use time::Duration;
use tonic::Code;

use crate::support::{
    OTHER, UNKNOWN_ID, World, bulk_revoke_all, bulk_revoke_by_filter, bulk_revoke_request,
    created_ids, reason,
};

async fn revoke(world: &World, request: &BulkRevokeRequest) -> BulkRevokeResponse {
    let answer = world.client().bulk_revoke(request.clone()).await;
    answer.unwrap().into_inner()
}

async fn invited(world: &World, emails: &[&str]) -> Vec<String> {
    created_ids(&world.invite(emails).await)
}

async fn state(world: &World, id: &str) -> InvitationState {
    world.get(id).await.state()
}

/// The outcome of each item, with the reason of a failure.
fn outcomes(answer: &BulkRevokeResponse) -> Vec<(RevokeOutcome, &'static str)> {
    let results = answer.results.iter().enumerate();
    results
        .map(|(index, result)| {
            assert_eq!(usize::try_from(result.index).unwrap(), index);
            let reason = result.error.as_ref().map(ItemError::reason);
            let reason = reason.map_or("", |reason| reason.as_str_name());
            (result.outcome(), reason)
        })
        .collect()
}

#[tokio::test]
async fn each_listed_invitation_gets_a_result_and_a_failure_does_not_affect_the_others() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("new@b.co").await;
    world.accept(&token, "newcomer", "new@b.co").await.unwrap();
    let ids = invited(&world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    revoke(&world, &bulk_revoke_request(&ids[1..2])).await;

    let unknown = UNKNOWN_ID.to_owned();
    let requested = [
        ids[0].clone(),
        ids[1].clone(),
        accepted.id,
        unknown,
        "no id".to_owned(),
        ids[0].clone(),
    ];
    let request = BulkRevokeRequest {
        acting_user_id: "ada".to_owned(),
        ..bulk_revoke_request(&requested)
    };
    let dry = BulkRevokeRequest {
        validate_only: true,
        ..request.clone()
    };
    let predicted = revoke(&world, &dry).await;
    assert_eq!(state(&world, &ids[0]).await, InvitationState::Pending);
    let answer = revoke(&world, &request).await;
    assert!(answer == predicted);
    let expected = [
        (RevokeOutcome::Revoked, ""),
        (RevokeOutcome::Unchanged, ""),
        (RevokeOutcome::Failed, "ERROR_REASON_ALREADY_ACCEPTED"),
        (RevokeOutcome::Failed, "ERROR_REASON_INVITATION_NOT_FOUND"),
        (RevokeOutcome::Failed, "ERROR_REASON_FIELD_INVALID"),
        (RevokeOutcome::Failed, "ERROR_REASON_DUPLICATE_IN_REQUEST"),
    ];
    assert_eq!(outcomes(&answer), expected);
    assert_eq!((answer.revoked_count, answer.failed_count), (1, 4));
    assert_eq!(
        answer.results[5].error.as_ref().unwrap().metadata["first_index"],
        "0"
    );
    assert_eq!(state(&world, &ids[0]).await, InvitationState::Revoked);
    assert_eq!(state(&world, &ids[2]).await, InvitationState::Pending);
    // The queued email of the revoked invitation is canceled and the other one is sent.
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_filter_revokes_pending_invitations_page_by_page_until_none_is_left() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let old = invited(&world, &["old@b.co"]).await;
    world.clock.advance(Duration::days(31));
    let ids = invited(&world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    let request = BulkRevokeRequest {
        page_size: 2,
        ..bulk_revoke_all()
    };
    let first = revoke(&world, &request).await;
    let newest: Vec<_> = ids.iter().rev().take(2).collect();
    let found: Vec<_> = first
        .results
        .iter()
        .map(|result| &result.invitation_id)
        .collect();
    assert_eq!(found, newest);
    assert!(!first.next_page_token.is_empty());
    let second = revoke(&world, &request).await;
    assert_eq!(
        (second.revoked_count, !second.next_page_token.is_empty()),
        (1, false)
    );
    assert_eq!(second.results[0].invitation_id, ids[0]);
    let third = revoke(&world, &request).await;
    assert!(third.results.is_empty());
    // An expired invitation is not pending.
    assert_eq!(state(&world, &old[0]).await, InvitationState::Expired);
}

#[tokio::test]
async fn a_filter_selects_by_inviter_address_and_batch() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let ids = invited(&world, &["a@b.co", "b@b.co"]).await;
    let batch_id = world.invite(&["c@b.co"]).await.batch_id;
    let email = InvitationFilter {
        email: Some("A@B.co".to_owned()),
        ..Default::default()
    };
    let batch = InvitationFilter {
        batch_id: Some(batch_id),
        ..Default::default()
    };
    let unknown_inviter = InvitationFilter {
        inviter_user_id: Some("unknown".to_owned()),
        ..Default::default()
    };
    for (filter, count) in [(unknown_inviter, 0), (email, 1), (batch, 1)] {
        let answer = revoke(&world, &bulk_revoke_by_filter(filter)).await;
        assert_eq!(answer.revoked_count, count);
    }
    assert_eq!(state(&world, &ids[0]).await, InvitationState::Revoked);
    assert_eq!(state(&world, &ids[1]).await, InvitationState::Pending);
    let inviter = InvitationFilter {
        inviter_user_id: Some("ada".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        revoke(&world, &bulk_revoke_by_filter(inviter))
            .await
            .revoked_count,
        1
    );
}

#[tokio::test]
async fn a_malformed_revoke_request_is_refused() {
    let world = World::start().await;
    let other = BulkRevokeRequest {
        organization_id: OTHER.to_owned(),
        ..bulk_revoke_all()
    };
    let answer = world.client_of("acme-only").bulk_revoke(other).await;
    assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    let unknown = BulkRevokeRequest {
        organization_id: "unknown".to_owned(),
        ..bulk_revoke_all()
    };
    let both = BulkRevokeRequest {
        filter: Some(InvitationFilter::default()),
        ..bulk_revoke_request(&["x"])
    };
    let negative = BulkRevokeRequest {
        page_size: -1,
        ..bulk_revoke_all()
    };
    let address = InvitationFilter {
        email: Some("no address".to_owned()),
        ..Default::default()
    };
    for (request, expected) in [
        (unknown, (Code::NotFound, "ORGANIZATION_NOT_FOUND")),
        (
            bulk_revoke_request(&[""; 0]),
            (Code::InvalidArgument, "ITEMS_EMPTY"),
        ),
        (
            bulk_revoke_request(&vec!["x"; 10_001]),
            (Code::InvalidArgument, "TOO_MANY_ITEMS"),
        ),
        (both, (Code::InvalidArgument, "FIELD_INVALID")),
        (negative, (Code::InvalidArgument, "FIELD_INVALID")),
        (
            bulk_revoke_by_filter(address),
            (Code::InvalidArgument, "EMAIL_INVALID"),
        ),
    ] {
        let answer = world.client().bulk_revoke(request).await;
        let code = answer.as_ref().err().map(tonic::Status::code);
        assert_eq!((code.unwrap(), reason(answer).as_str()), expected);
    }
}
