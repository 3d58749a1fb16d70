//! `BulkRevoke`: many are taken back at once, with a result for each.

use invitations::proto::{
    BulkRevokeRequest, BulkRevokeResponse, GetRequest, InvitationState, ItemError, RevokeFilter,
    RevokeOutcome,
};
use time::Duration;
use tonic::Code;

use crate::support::{ACME, OTHER, World, accept_request, created, reason};

fn by_ids(ids: &[String]) -> BulkRevokeRequest {
    BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: ids.to_vec(),
        ..Default::default()
    }
}

fn by_filter(filter: RevokeFilter) -> BulkRevokeRequest {
    BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        filter: Some(filter),
        ..Default::default()
    }
}

async fn revoke(world: &World, request: &BulkRevokeRequest) -> BulkRevokeResponse {
    let answer = world.client().bulk_revoke(request.clone()).await;
    answer.unwrap().into_inner()
}

async fn invited(world: &World, emails: &[&str]) -> Vec<String> {
    let results = world.invite(emails).await.results;
    results.iter().map(|result| created(result).id).collect()
}

async fn state(world: &World, id: &str) -> InvitationState {
    let request = GetRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id.to_owned(),
    };
    let answer = world.client().get(request).await.unwrap().into_inner();
    answer.invitation.unwrap().state()
}

/// What became of each, with the reason of a failure.
fn told(answer: &BulkRevokeResponse) -> Vec<(RevokeOutcome, &'static str)> {
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
async fn each_of_a_list_gets_a_result_and_none_harms_another() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("new@b.co").await;
    let request = accept_request(&token, "newcomer", "new@b.co");
    world.client().accept(request).await.unwrap();
    let ids = invited(&world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    revoke(&world, &by_ids(&ids[1..2])).await;

    let foreign = "019aacd0-0000-7000-8000-000000000001".to_owned();
    let asked = [
        ids[0].clone(),
        ids[1].clone(),
        accepted.id,
        foreign,
        "no id".to_owned(),
        ids[0].clone(),
    ];
    let request = BulkRevokeRequest {
        user_id: "ada".to_owned(),
        ..by_ids(&asked)
    };
    let dry = BulkRevokeRequest {
        validate_only: true,
        ..request.clone()
    };
    let foretold = revoke(&world, &dry).await;
    assert_eq!(state(&world, &ids[0]).await, InvitationState::Pending);
    let answer = revoke(&world, &request).await;
    assert!(answer == foretold);
    let expected = [
        (RevokeOutcome::Revoked, ""),
        (RevokeOutcome::Unchanged, ""),
        (RevokeOutcome::Failed, "ERROR_REASON_ALREADY_ACCEPTED"),
        (RevokeOutcome::Failed, "ERROR_REASON_INVITATION_NOT_FOUND"),
        (RevokeOutcome::Failed, "ERROR_REASON_FIELD_INVALID"),
        (RevokeOutcome::Failed, "ERROR_REASON_DUPLICATE_IN_REQUEST"),
    ];
    assert_eq!(told(&answer), expected);
    assert_eq!((answer.revoked_count, answer.failed_count), (1, 4));
    assert_eq!(
        answer.results[5].error.as_ref().unwrap().metadata["first_index"],
        "0"
    );
    assert_eq!(state(&world, &ids[0]).await, InvitationState::Revoked);
    assert_eq!(state(&world, &ids[2]).await, InvitationState::Pending);
    // Its mail was still queued, and nobody gets it; the other is sent.
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_filter_finds_what_is_pending_page_by_page_until_nothing_is_left() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let old = invited(&world, &["old@b.co"]).await;
    world.clock.advance(Duration::days(31));
    let ids = invited(&world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    let request = BulkRevokeRequest {
        page_size: 2,
        ..by_filter(RevokeFilter::default())
    };
    let first = revoke(&world, &request).await;
    let newest: Vec<_> = ids.iter().rev().take(2).collect();
    let found: Vec<_> = first
        .results
        .iter()
        .map(|result| &result.invitation_id)
        .collect();
    assert_eq!(found, newest);
    assert!(first.has_more);
    let second = revoke(&world, &request).await;
    assert_eq!((second.revoked_count, second.has_more), (1, false));
    assert_eq!(second.results[0].invitation_id, ids[0]);
    let third = revoke(&world, &request).await;
    assert!(third.results.is_empty());
    // What has expired is not pending.
    assert_eq!(state(&world, &old[0]).await, InvitationState::Expired);
}

#[tokio::test]
async fn a_filter_takes_what_its_fields_say() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let ids = invited(&world, &["a@b.co", "b@b.co"]).await;
    let batch_id = world.invite(&["c@b.co"]).await.batch_id;
    let email = RevokeFilter {
        email: "A@B.co".to_owned(),
        ..Default::default()
    };
    let batch = RevokeFilter {
        batch_id,
        ..Default::default()
    };
    let nobodys = RevokeFilter {
        inviter_user_id: "nobody".to_owned(),
        ..Default::default()
    };
    for (filter, count) in [(nobodys, 0), (email, 1), (batch, 1)] {
        let answer = revoke(&world, &by_filter(filter)).await;
        assert_eq!(answer.revoked_count, count);
    }
    assert_eq!(state(&world, &ids[0]).await, InvitationState::Revoked);
    assert_eq!(state(&world, &ids[1]).await, InvitationState::Pending);
    let adas = RevokeFilter {
        inviter_user_id: "ada".to_owned(),
        ..Default::default()
    };
    assert_eq!(revoke(&world, &by_filter(adas)).await.revoked_count, 1);
}

#[tokio::test]
async fn a_malformed_request_is_refused_whole() {
    let world = World::start().await;
    let other = BulkRevokeRequest {
        organization_id: OTHER.to_owned(),
        ..by_filter(RevokeFilter::default())
    };
    let answer = world.client_of("acme-only").bulk_revoke(other).await;
    assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    let unknown = BulkRevokeRequest {
        organization_id: "unknown".to_owned(),
        ..by_filter(RevokeFilter::default())
    };
    let both = BulkRevokeRequest {
        filter: Some(RevokeFilter::default()),
        ..by_ids(&["x".to_owned()])
    };
    let negative = BulkRevokeRequest {
        page_size: -1,
        ..by_filter(RevokeFilter::default())
    };
    let address = RevokeFilter {
        email: "no address".to_owned(),
        ..Default::default()
    };
    for (request, expected) in [
        (unknown, (Code::NotFound, "ORGANIZATION_NOT_FOUND")),
        (by_ids(&[]), (Code::InvalidArgument, "ITEMS_EMPTY")),
        (
            by_ids(&vec!["x".to_owned(); 10_001]),
            (Code::InvalidArgument, "TOO_MANY_ITEMS"),
        ),
        (both, (Code::InvalidArgument, "FIELD_INVALID")),
        (negative, (Code::InvalidArgument, "FIELD_INVALID")),
        (by_filter(address), (Code::InvalidArgument, "EMAIL_INVALID")),
    ] {
        let answer = world.client().bulk_revoke(request).await;
        let code = answer.as_ref().err().map(tonic::Status::code);
        assert_eq!((code.unwrap(), reason(answer).as_str()), expected);
    }
}
