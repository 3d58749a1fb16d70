//! `BulkResend`: a new email for each of many invitations, with a result for each.

use invitations::proto::{
    BulkResendRequest, BulkResendResponse, DeliveryState, ErrorReason, InvitationFilter,
    InvitationState, ItemError, ResendOutcome, bulk_resend_request,
};
use time::Duration;

use crate::support::relay::SmtpStep;
use crate::support::{
    OTHER, START, UNKNOWN_ID, World, bulk_resend_all, bulk_resend_by_filter, bulk_resend_request,
    created_ids, numbered_emails, reason, run_concurrently,
};

const REQUEST_ID: &str = "0c7b8a52-9ad6-4fd5-9a2a-07f1c6a0b1d3";

async fn resend(world: &World, request: &BulkResendRequest) -> BulkResendResponse {
    let answer = world.client().bulk_resend(request.clone()).await;
    answer.unwrap().into_inner()
}

async fn invited(world: &World, emails: &[&str]) -> Vec<String> {
    created_ids(&world.invite(emails).await)
}

fn ids_of(answer: &BulkResendResponse) -> Vec<&str> {
    let ids = answer.results.iter();
    ids.map(|result| result.invitation_id.as_str()).collect()
}

/// The reason of each failure, and `None` for a resent invitation.
fn reasons(answer: &BulkResendResponse) -> Vec<Option<ErrorReason>> {
    let results = answer.results.iter();
    results
        .map(|result| {
            let error = result.error.as_ref().map(ItemError::reason);
            let is_failed = result.outcome() == ResendOutcome::Failed;
            assert_eq!(error.is_some(), is_failed);
            assert_eq!(result.invitation.is_none(), is_failed);
            error
        })
        .collect()
}

#[tokio::test]
async fn each_listed_invitation_gets_one_new_email_and_a_later_expiry() {
    let mut world = World::start().await;
    let ids = invited(&world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    assert_eq!(world.deliver_all().await, 3);
    world.clock.advance(Duration::days(10));
    let request = BulkResendRequest {
        expiration: Some(bulk_resend_request::Expiration::Ttl(
            prost_types::Duration {
                seconds: 86_400,
                nanos: 0,
            },
        )),
        ..bulk_resend_request(&[ids[2].clone(), ids[0].clone()])
    };
    let before = world.mail_to("a@b.co").token();
    let answer = resend(&world, &request).await;
    assert_eq!(ids_of(&answer), [ids[2].as_str(), &ids[0]]);
    assert_eq!((answer.resent_count, answer.failed_count), (2, 0));
    for (index, result) in (0..).zip(&answer.results) {
        assert_eq!(result.index, index);
        let invitation = result.invitation.clone().unwrap();
        let expires_at = (START + Duration::days(11)).unix_timestamp();
        assert_eq!(invitation.expire_time.as_ref().unwrap().seconds, expires_at);
        let stored = world.get(&result.invitation_id).await;
        assert!(
            stored == invitation,
            "the response differs from the stored invitation"
        );
    }
    assert_eq!(world.deliver_all().await, 2);
    assert_eq!(world.mailbox().len(), 5);
    let after = world.mail_to("a@b.co");
    assert_eq!(after.token(), before, "the link is the same");
    assert_eq!(after.message_id, format!("inv.{}.1.2@example.com", ids[0]));
}

#[tokio::test]
async fn an_invitation_that_cannot_be_resent_fails_without_affecting_the_others() {
    let mut world = World::start().await;
    let emails = ["wait@b.co", "accept@b.co", "decline@b.co", "revoke@b.co"];
    let ids = invited(&world, &emails).await;
    world.deliver_all().await;
    let token = |email: &str| world.mail_to(email).token();
    world
        .accept(&token("accept@b.co"), "new", "accept@b.co")
        .await
        .unwrap();
    world.decline(&token("decline@b.co")).await.unwrap();
    world.revoke(&ids[3]).await;
    let unknown = UNKNOWN_ID.to_owned();
    let mut requested = ids.clone();
    requested.extend([unknown, "no id".to_owned(), ids[0].to_ascii_uppercase()]);
    let answer = resend(&world, &bulk_resend_request(&requested)).await;
    let expected = [
        None,
        Some(ErrorReason::AlreadyAccepted),
        Some(ErrorReason::InvitationDeclined),
        Some(ErrorReason::InvitationRevoked),
        Some(ErrorReason::InvitationNotFound),
        Some(ErrorReason::FieldInvalid),
        Some(ErrorReason::DuplicateInRequest),
    ];
    assert_eq!(reasons(&answer), expected);
    let duplicate = answer.results[6].error.as_ref().unwrap();
    assert_eq!(duplicate.metadata["first_index"], "0");
    assert_eq!(
        ids_of(&answer),
        requested,
        "the response repeats the ids of the request"
    );
    assert_eq!((answer.resent_count, answer.failed_count), (1, 6));
    assert_eq!(world.deliver_all().await, 1);

    let foreign = BulkResendRequest {
        organization_id: OTHER.to_owned(),
        ..bulk_resend_request(&ids[..1])
    };
    let answer = resend(&world, &foreign).await;
    assert_eq!(reasons(&answer), [Some(ErrorReason::InvitationNotFound)]);
}

#[tokio::test]
async fn an_expired_invitation_becomes_pending_unless_its_address_was_invited_again() {
    let mut world = World::start().await;
    let old = invited(&world, &["again@b.co", "twice@b.co", "alone@b.co"]).await;
    world.deliver_all().await;
    let expired_token = world.mail_to("alone@b.co").token();
    world.clock.advance(Duration::days(31));
    let new = invited(&world, &["again@b.co", "twice@b.co"]).await;
    world.deliver_all().await;
    // Of two expired invitations for one address, the first in the request becomes pending.
    world.revoke(&new[1]).await;
    let again = invited(&world, &["twice@b.co"]).await;
    world.deliver_all().await;
    world.clock.advance(Duration::days(31));
    world.service.sweep().await.unwrap();
    let newest = invited(&world, &["again@b.co"]).await;
    world.deliver_all().await;
    let requested = [&old[0], &again[0], &old[1], &old[2], &newest[0]].map(String::clone);
    let answer = resend(&world, &bulk_resend_request(&requested)).await;
    let already_invited = Some(ErrorReason::AlreadyInvited);
    assert_eq!(
        reasons(&answer),
        [already_invited, None, already_invited, None, None]
    );
    assert_eq!(world.deliver_all().await, 3);
    let refused = world.accept(&expired_token, "new", "alone@b.co").await;
    assert_eq!(
        reason(refused),
        "TOKEN_INVALID",
        "an expired link never works again"
    );
    let token = world.mail_to("alone@b.co").token();
    world.accept(&token, "new", "alone@b.co").await.unwrap();
}

#[tokio::test]
async fn a_queued_email_is_replaced() {
    let mut world = World::start().await;
    let ids = invited(&world, &["a@b.co", "b@b.co"]).await;
    let request = BulkResendRequest {
        rotate_token: true,
        ..bulk_resend_request(&ids)
    };
    resend(&world, &request).await;
    resend(&world, &request).await;
    assert_eq!(
        world.deliver_all().await,
        2,
        "one email for each invitation"
    );
    for (id, email) in ids.iter().zip(["a@b.co", "b@b.co"]) {
        let mail = world.mail_to(email);
        assert_eq!(mail.message_id, format!("inv.{id}.3.3@example.com"));
    }
}

#[tokio::test]
async fn a_filter_selects_invitations_by_delivery_state_batch_and_state() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.7.1 not from you");
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.7.1 not from you");
    let first = world.invite(&["a@b.co", "b@b.co", "c@b.co"]).await;
    world.deliver_all().await;
    invited(&world, &["d@b.co"]).await;
    world.deliver_all().await;
    let failed = InvitationFilter {
        delivery_states: vec![DeliveryState::Failed.into()],
        ..Default::default()
    };
    let answer = resend(&world, &bulk_resend_by_filter(failed.clone())).await;
    assert_eq!(answer.resent_count, 2);
    assert!(answer.next_page_token.is_empty());
    assert_eq!(world.deliver_all().await, 2);
    assert_eq!(
        resend(&world, &bulk_resend_by_filter(failed))
            .await
            .results
            .len(),
        0
    );

    let batch = InvitationFilter {
        batch_id: Some(first.batch_id.clone()),
        inviter_user_id: Some("ada".to_owned()),
        ..Default::default()
    };
    let answer = resend(&world, &bulk_resend_by_filter(batch.clone())).await;
    let mut ids = created_ids(&first);
    ids.reverse();
    assert_eq!(ids_of(&answer), ids, "newest first");
    assert_eq!(world.deliver_all().await, 3);

    world.clock.advance(Duration::days(31));
    assert_eq!(
        resend(&world, &bulk_resend_by_filter(batch.clone()))
            .await
            .results
            .len(),
        0
    );
    let expired = InvitationFilter {
        states: vec![InvitationState::Expired.into()],
        ..batch
    };
    assert_eq!(
        resend(&world, &bulk_resend_by_filter(expired))
            .await
            .resent_count,
        3
    );
    assert_eq!(world.deliver_all().await, 3);
}

#[tokio::test]
async fn pages_reach_each_invitation_once_while_others_are_created() {
    let mut world = World::start().await;
    let mut ids = world.invite_numbered("b.co", 25).await;
    world.deliver_all().await;
    let mut request = BulkResendRequest {
        page_size: 10,
        ..bulk_resend_all()
    };
    let mut reached = Vec::new();
    loop {
        let answer = resend(&world, &request).await;
        reached.extend(ids_of(&answer).into_iter().map(str::to_owned));
        invited(&world, &[&format!("late{}@b.co", reached.len())]).await;
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    ids.reverse();
    assert_eq!(reached, ids);
    assert_eq!(world.deliver_all().await, 25 + 3);

    let elsewhere = BulkResendRequest {
        filter: Some(InvitationFilter {
            delivery_states: vec![DeliveryState::Failed.into()],
            ..Default::default()
        }),
        all: false,
        ..request
    };
    let refused = world.client().bulk_resend(elsewhere).await;
    assert_eq!(reason(refused), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn a_repeated_call_returns_the_first_response_and_sends_no_email() {
    let mut world = World::start().await;
    let mut ids = invited(&world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    world.deliver_all().await;
    ids.push("no id".to_owned());
    let by_ids = BulkResendRequest {
        request_id: REQUEST_ID.to_owned(),
        ..bulk_resend_request(&ids)
    };
    let by_filter = BulkResendRequest {
        request_id: "1c7b8a52-9ad6-4fd5-9a2a-07f1c6a0b1d3".to_owned(),
        page_size: 2,
        ..bulk_resend_all()
    };
    for (request, mails) in [(&by_ids, 3), (&by_filter, 2)] {
        let first = resend(&world, request).await;
        assert_eq!(world.deliver_all().await, mails);
        world.clock.advance(Duration::hours(11));
        let second = resend(&world, request).await;
        assert!(first == second);
        assert_eq!(world.deliver_all().await, 0);
    }
    let other = BulkResendRequest {
        rotate_token: true,
        ..by_ids.clone()
    };
    let refused = world.client().bulk_resend(other).await;
    assert_eq!(reason(refused), "REQUEST_ID_REUSED");
    let dry = BulkResendRequest {
        validate_only: true,
        ..by_ids.clone()
    };
    assert_eq!(resend(&world, &dry).await.resent_count, 3);

    world.clock.advance(Duration::hours(24));
    world.service.sweep().await.unwrap();
    assert_eq!(resend(&world, &by_ids).await.resent_count, 3);
    assert_eq!(world.deliver_all().await, 3, "the request id was forgotten");

    let mut database = world.database().await;
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("SELECT response FROM idempotency_keys")
        .fetch_all(&mut database)
        .await
        .unwrap();
    for response in kept {
        let response = String::from_utf8(response).unwrap();
        assert!(!response.contains('@'), "{response}");
    }
}

#[tokio::test]
async fn concurrent_calls_with_one_request_id_send_one_email_each() {
    let mut world = World::start().await;
    let ids = invited(&world, &["a@b.co", "b@b.co"]).await;
    world.deliver_all().await;
    let request = BulkResendRequest {
        request_id: REQUEST_ID.to_owned(),
        ..bulk_resend_request(&ids)
    };
    let calls = (0..6).map(|_| {
        let (mut client, request) = (world.client(), request.clone());
        async move { client.bulk_resend(request).await.unwrap().into_inner() }
    });
    let answers = run_concurrently(calls).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(world.deliver_all().await, 2);
}

#[tokio::test]
async fn a_dry_run_of_a_resend_predicts_the_response_and_does_nothing() {
    let mut world = World::start().await;
    let mut ids = invited(&world, &["a@b.co", "b@b.co"]).await;
    world.deliver_all().await;
    world.clock.advance(Duration::days(31));
    ids.push("no id".to_owned());
    let dry = BulkResendRequest {
        validate_only: true,
        ..bulk_resend_request(&ids)
    };
    let predicted = resend(&world, &dry).await;
    let state = world.get(&ids[0]).await.state();
    assert_eq!(state, InvitationState::Expired);
    assert_eq!(world.deliver_all().await, 0);
    let answer = resend(&world, &bulk_resend_request(&ids)).await;
    assert!(answer == predicted);
    assert_eq!(world.deliver_all().await, 2);
}

#[tokio::test]
async fn a_malformed_resend_request_is_refused() {
    let world = World::start().await;
    let refused = |request: BulkResendRequest| {
        let mut client = world.client();
        async move { reason(client.bulk_resend(request).await) }
    };
    assert_eq!(refused(bulk_resend_request(&[""; 0])).await, "ITEMS_EMPTY");
    let many = vec!["x".to_owned(); 10_001];
    assert_eq!(refused(bulk_resend_request(&many)).await, "TOO_MANY_ITEMS");
    let both = BulkResendRequest {
        filter: Some(InvitationFilter::default()),
        ..bulk_resend_request(&many[..1])
    };
    assert_eq!(refused(both).await, "FIELD_INVALID");
    let negative = BulkResendRequest {
        page_size: -1,
        ..bulk_resend_all()
    };
    assert_eq!(refused(negative).await, "FIELD_INVALID");
    for state in [InvitationState::Accepted, InvitationState::Unspecified] {
        let ended = InvitationFilter {
            states: vec![state.into()],
            ..Default::default()
        };
        assert_eq!(refused(bulk_resend_by_filter(ended)).await, "FIELD_INVALID");
    }
    let short = BulkResendRequest {
        expiration: Some(bulk_resend_request::Expiration::Ttl(
            prost_types::Duration {
                seconds: 60,
                nanos: 0,
            },
        )),
        ..bulk_resend_request(&many[..1])
    };
    assert_eq!(refused(short).await, "EXPIRY_OUT_OF_RANGE");
    let unknown = BulkResendRequest {
        organization_id: "unknown".to_owned(),
        ..bulk_resend_request(&many[..1])
    };
    assert_eq!(refused(unknown).await, "ORGANIZATION_NOT_FOUND");
}

#[tokio::test]
async fn a_call_resends_ten_thousand_invitations_and_returns_a_page_token() {
    let mut world = World::start().await;
    for (number, count) in [(0, 10_000), (1, 3)] {
        let emails = numbered_emails("p", &format!("b{number}.co"), 0..count);
        world.invite(&emails).await;
    }
    let mut request = bulk_resend_all();
    let first = resend(&world, &request).await;
    assert_eq!(first.resent_count, 10_000);
    request.page_token = first.next_page_token;
    let second = resend(&world, &request).await;
    assert_eq!(second.resent_count, 3);
    assert!(second.next_page_token.is_empty());
    world.may_leave_mail();
}
