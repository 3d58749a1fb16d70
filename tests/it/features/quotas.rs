//! Quotas: how many people are invited and mailed, by whom and how fast, and what whoever asks for more is told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use invitations::domain::email_address::EmailAddress;
use invitations::domain::ids::OrganizationId;
use invitations::domain::new_invitation::ItemInput;
use invitations::domain::quota::QuotaLimits;
use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, BulkResendRequest, BulkResendResponse, CreateOutcome,
    DeclineRequest, ErrorReason, ItemError, NewInvitation, OnExisting, Organization, ResendOutcome,
    ResendRequest, RevokeRequest, UpsertMembershipsRequest, UpsertOrganizationsRequest,
};
use invitations::service::bulk_create::{BulkCreate, OnExisting as Existing};
use invitations::service::{ItemOutcome, Service};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    ACME, KEYS, OTHER, World, accept_request, created, invite_request, reason, test_actor,
};

/// Seconds from the start of every test to the end of its day.
const TO_MIDNIGHT: u64 = (5 * 60 + 12) * 60;

fn emails(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}@example.net"))
        .collect()
}

fn request_for(emails: &[String]) -> BulkCreateRequest {
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    invite_request(&emails)
}

async fn create(world: &World, request: BulkCreateRequest) -> BulkCreateResponse {
    world
        .client()
        .bulk_create(request)
        .await
        .unwrap()
        .into_inner()
}

/// How each item ended: a dot for one that was done, or the quota that had no room for it.
fn told(answer: &BulkCreateResponse) -> String {
    let of = |error: &ItemError| {
        assert_eq!(error.reason(), ErrorReason::QuotaExceeded);
        assert_eq!(error.code, i32::from(Code::ResourceExhausted));
        quota_of(error).to_owned()
    };
    let results = answer.results.iter();
    let words: Vec<String> = results
        .map(|result| result.error.as_ref().map_or(".".to_owned(), of))
        .collect();
    words.join(" ")
}

fn quota_of(error: &ItemError) -> &str {
    match error.metadata["quota"].as_str() {
        "organization_daily" => "daily",
        "organization_pending" => "pending",
        "address_daily" => "address",
        "invitation_resends" => "resends",
        "invitation_pause" => "pause",
        other => panic!("{other} is no quota"),
    }
}

/// The quotas a whole call was refused for, and the seconds it is told to wait.
fn refusal(status: &Status) -> (Vec<(String, String)>, u64) {
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "QUOTA_EXCEEDED");
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    let violations = &details.quota_failure().unwrap().violations;
    assert!(violations.iter().all(|it| !it.description.is_empty()));
    let named: Vec<_> = violations
        .iter()
        .map(|it| (it.subject.clone(), info.metadata["quota"].clone()))
        .collect();
    assert!(!info.metadata["limit"].is_empty());
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    assert_eq!(info.metadata["retry_after_seconds"], seconds.to_string());
    (named, seconds)
}

fn one(subject: &str, quota: &str) -> Vec<(String, String)> {
    vec![(subject.to_owned(), quota.to_owned())]
}

async fn rows(world: &World) -> (i64, i64, i64, i64) {
    let mut database = world.database().await;
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations), (SELECT count(*) FROM outbox),
                (SELECT coalesce(sum(used), 0)::bigint FROM organization_quotas),
                (SELECT coalesce(sum(used), 0)::bigint FROM address_quotas)",
    )
    .fetch_one(&mut database)
    .await
    .unwrap()
}

async fn deadlocks(world: &World) -> i64 {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(&mut database)
        .await
        .unwrap()
}

fn daily(limit: u32) -> QuotaLimits {
    QuotaLimits {
        organization_daily: Some(limit),
        ..QuotaLimits::OFF
    }
}

fn pending(limit: u32) -> QuotaLimits {
    QuotaLimits {
        organization_pending: Some(limit),
        ..QuotaLimits::OFF
    }
}

fn address(limit: u32) -> QuotaLimits {
    QuotaLimits {
        address_daily: Some(limit),
        ..QuotaLimits::OFF
    }
}

fn resends() -> QuotaLimits {
    QuotaLimits {
        invitation_resends: Some(3),
        invitation_pause: Some(Duration::from_mins(1)),
        ..QuotaLimits::OFF
    }
}

#[tokio::test]
async fn an_organization_invites_so_many_a_day_and_the_first_that_fit_are_made() {
    let mut world = World::builder().quotas(daily(5)).start().await;
    world.may_leave_mail();
    let answer = create(&world, request_for(&emails("a", 4))).await;
    assert_eq!(told(&answer), ". . . .");
    let answer = create(&world, request_for(&emails("b", 3))).await;
    assert_eq!(told(&answer), ". daily daily");
    assert_eq!((answer.created_count, answer.failed_count), (1, 2));
    let error = answer.results[2].error.clone().unwrap();
    assert_eq!(error.metadata["limit"], "5");
    assert_eq!(
        error.metadata["retry_after_seconds"],
        TO_MIDNIGHT.to_string()
    );
    assert_eq!(
        told(&create(&world, request_for(&emails("c", 1))).await),
        "daily"
    );
    // Another organization has a day of its own.
    let request = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..request_for(&emails("d", 5))
    };
    assert_eq!(told(&create(&world, request).await), ". . . . .");
    let to_midnight = time::Duration::seconds(i64::try_from(TO_MIDNIGHT).unwrap());
    world.clock.advance(to_midnight - time::Duration::SECOND);
    assert_eq!(
        told(&create(&world, request_for(&emails("e", 1))).await),
        "daily"
    );
    world.clock.advance(time::Duration::SECOND);
    let answer = create(&world, request_for(&emails("f", 6))).await;
    assert_eq!(told(&answer), ". . . . . daily");
    assert_eq!(rows(&world).await.2, 15);
}

#[tokio::test]
async fn failing_items_take_nothing_and_leave_their_room_to_others() {
    let mut world = World::builder()
        .quotas(QuotaLimits {
            organization_pending: Some(2),
            ..daily(3)
        })
        .start()
        .await;
    world.may_leave_mail();
    let mut request = invite_request(&[
        "broken",
        "a@b.co",
        "a@b.co",
        "grace@example.com",
        "b@b.co",
        "c@b.co",
    ]);
    request.invitations[5].notify = Some(false);
    let answer = create(&world, request).await;
    let reasons: Vec<_> = answer
        .results
        .iter()
        .map(|result| result.error.as_ref().map(ItemError::reason))
        .collect();
    assert_eq!(
        reasons,
        [
            Some(ErrorReason::EmailInvalid),
            None,
            Some(ErrorReason::DuplicateInRequest),
            Some(ErrorReason::AlreadyMember),
            None,
            Some(ErrorReason::QuotaExceeded),
        ]
    );
    assert_eq!(rows(&world).await.2, 2);
}

#[tokio::test]
async fn so_many_invitations_of_an_organization_are_pending_at_once() {
    let mut world = World::builder().quotas(pending(3)).start().await;
    let answer = create(&world, request_for(&emails("a", 2))).await;
    assert_eq!(told(&answer), ". .");
    let first = created(&answer.results[0]).id;
    let answer = create(&world, request_for(&emails("b", 2))).await;
    assert_eq!(told(&answer), ". pending");
    let error = answer.results[1].error.clone().unwrap();
    assert_eq!(error.metadata["retry_after_seconds"], "3600");
    // What is pending already may be sent again or replaced, and what ends makes room.
    for on_existing in [OnExisting::Resend, OnExisting::Replace, OnExisting::Return] {
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            ..request_for(&emails("a", 2))
        };
        assert_eq!(told(&create(&world, request).await), ". .");
    }
    assert_eq!(
        told(&create(&world, request_for(&emails("c", 1))).await),
        "pending"
    );
    world.deliver_all().await;
    let token = world.mail_to("a0@example.net").token();
    world.accept(&token, "u", "a0@example.net").await.unwrap();
    let request = DeclineRequest {
        token: world.mail_to("a1@example.net").token(),
        suppress: false,
    };
    world.client().decline(request).await.unwrap();
    assert_eq!(
        told(&create(&world, request_for(&emails("d", 3))).await),
        ". . pending"
    );
    // Those whose time ran out count no more, whether the sweeper came by or not; sent again, they do.
    world.clock.advance(time::Duration::days(31));
    assert_eq!(
        told(&create(&world, request_for(&emails("e", 3))).await),
        ". . ."
    );
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: first,
        ..Default::default()
    };
    assert_eq!(
        reason(world.client().resend(request).await),
        "REVOKED",
        "it was replaced"
    );
    let expired = world
        .mailbox()
        .iter()
        .any(|mail| mail.to == "b0@example.net");
    assert!(expired);
    world.deliver_all().await;
}

#[tokio::test]
async fn an_expired_invitation_becomes_pending_only_where_there_is_room() {
    let mut world = World::builder().quotas(pending(1)).start().await;
    let expired = created(&create(&world, request_for(&emails("a", 1))).await.results[0]).id;
    world.deliver_all().await;
    world.clock.advance(time::Duration::days(31));
    let fresh = created(&create(&world, request_for(&emails("b", 1))).await.results[0]).id;
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: expired.clone(),
        ..Default::default()
    };
    let refused = world.client().resend(request.clone()).await.err().unwrap();
    assert_eq!(
        refusal(&refused),
        (one("organization", "organization_pending"), 3_600)
    );
    let many = BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![expired, fresh.clone()],
        ..Default::default()
    };
    let answer = resend_many(&world, many).await;
    assert_eq!(told_again(&answer), "pending .");
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: fresh,
        user_id: String::new(),
    };
    world.client().revoke(revoke).await.unwrap();
    world.client().resend(request).await.unwrap();
    world.deliver_all().await;
}

#[tokio::test]
async fn an_address_is_mailed_so_often_a_day_whoever_invites() {
    let mut world = World::builder().quotas(address(2)).start().await;
    world.may_leave_mail();
    let other = |email: &str| BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(&[email, "z@b.co"])
    };
    let first = create(&world, invite_request(&["a@b.co"])).await;
    assert_eq!(told(&first), ".");
    let answer = create(&world, other("A@B.co")).await;
    assert_eq!(told(&answer), ". .");
    let resend = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: created(&first.results[0]).id,
        ..Default::default()
    };
    let refused = world.client().resend(resend.clone()).await.err().unwrap();
    assert_eq!(
        refusal(&refused),
        (one("address", "address_daily"), TO_MIDNIGHT)
    );
    let again = BulkCreateRequest {
        on_existing: OnExisting::Replace.into(),
        ..other("a@b.co")
    };
    assert_eq!(told(&create(&world, again.clone()).await), "address .");
    // Whoever is not mailed is not counted.
    let silent = BulkCreateRequest {
        invitations: vec![NewInvitation {
            notify: Some(false),
            ..crate::support::item("a@b.co")
        }],
        ..again
    };
    assert_eq!(told(&create(&world, silent).await), ".");
    assert_eq!(rows(&world).await.3, 4);
    let mut database = world.database().await;
    let text: String = sqlx::query_scalar("SELECT string_agg(q::text, ' ') FROM address_quotas q")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(!text.contains("b.co"));
    world.clock.advance(time::Duration::hours(6));
    world.client().resend(resend).await.unwrap();
}

#[tokio::test]
async fn an_invitation_is_mailed_again_after_a_pause_and_three_times_a_day() {
    let mut world = World::builder().quotas(resends()).start().await;
    let invitation = created(&create(&world, invite_request(&["a@b.co"])).await.results[0]);
    world.deliver_all().await;
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        ..Default::default()
    };
    world.clock.advance(time::Duration::milliseconds(59_500));
    let refused = world.client().resend(request.clone()).await.err().unwrap();
    assert_eq!(
        refusal(&refused),
        (one("invitation", "invitation_pause"), 1)
    );
    world.clock.advance(time::Duration::milliseconds(500));
    for _ in 0..3 {
        world.client().resend(request.clone()).await.unwrap();
        world.deliver_all().await;
        world.clock.advance(time::Duration::minutes(1));
    }
    let refused = world.client().resend(request.clone()).await.err().unwrap();
    let day = 24 * 3_600 - 3 * 60;
    assert_eq!(
        refusal(&refused),
        (one("invitation", "invitation_resends"), day)
    );
    // By whichever road.
    let by_create = BulkCreateRequest {
        on_existing: OnExisting::Resend.into(),
        ..invite_request(&["a@b.co", "b@b.co"])
    };
    for validate_only in [true, false] {
        let request = BulkCreateRequest {
            validate_only,
            ..by_create.clone()
        };
        assert_eq!(told(&create(&world, request).await), "resends .");
    }
    let many = BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![invitation.id],
        ..Default::default()
    };
    assert_eq!(
        told_again(&resend_many(&world, many.clone()).await),
        "resends"
    );
    assert_eq!(
        told(&create(&world, by_create.clone()).await),
        "resends pause"
    );
    let advance = i64::try_from(day).unwrap() - 1;
    world.clock.advance(time::Duration::seconds(advance));
    assert!(world.client().resend(request.clone()).await.is_err());
    world.clock.advance(time::Duration::seconds(1));
    world.client().resend(request.clone()).await.unwrap();
    assert!(world.client().resend(request).await.is_err(), "the pause");
    world.deliver_all().await;
}

#[tokio::test]
async fn of_many_that_resend_at_once_one_does() {
    let mut world = World::builder().quotas(resends()).start().await;
    let invitation = created(&create(&world, invite_request(&["a@b.co"])).await.results[0]);
    world.deliver_all().await;
    world.clock.advance(time::Duration::minutes(2));
    let calls = (0..12).map(|number| {
        let mut client = world.client();
        let id = invitation.id.clone();
        tokio::spawn(async move {
            match number % 3 {
                0 => {
                    let request = ResendRequest {
                        organization_id: ACME.to_owned(),
                        invitation_id: id,
                        ..Default::default()
                    };
                    client.resend(request).await.map(|_| 1)
                }
                1 => {
                    let request = BulkResendRequest {
                        organization_id: ACME.to_owned(),
                        invitation_ids: vec![id],
                        ..Default::default()
                    };
                    let answer = client.bulk_resend(request).await;
                    answer.map(|answer| answer.into_inner().resent_count)
                }
                _ => {
                    let request = BulkCreateRequest {
                        on_existing: OnExisting::Resend.into(),
                        ..invite_request(&["a@b.co"])
                    };
                    let answer = client.bulk_create(request).await;
                    answer.map(|answer| answer.into_inner().created_count)
                }
            }
        })
    });
    let answers = futures::future::join_all(calls).await;
    let done: i32 = answers
        .into_iter()
        .map(|answer| answer.unwrap().unwrap_or(0))
        .sum();
    assert_eq!(done, 1);
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(deadlocks(&world).await, 0);
}

async fn resend_many(world: &World, request: BulkResendRequest) -> BulkResendResponse {
    world
        .client()
        .bulk_resend(request)
        .await
        .unwrap()
        .into_inner()
}

fn told_again(answer: &BulkResendResponse) -> String {
    let words: Vec<&str> = answer
        .results
        .iter()
        .map(|result| match &result.error {
            None => {
                assert_eq!(result.outcome(), ResendOutcome::Resent);
                "."
            }
            Some(error) => quota_of(error),
        })
        .collect();
    words.join(" ")
}

#[tokio::test]
async fn mailing_many_again_counts_as_inviting_them() {
    let mut world = World::builder()
        .quotas(QuotaLimits {
            organization_daily: Some(5),
            address_daily: Some(2),
            ..QuotaLimits::OFF
        })
        .start()
        .await;
    world.may_leave_mail();
    let made = create(&world, request_for(&emails("a", 3))).await;
    let invitation_ids: Vec<String> = made.results.iter().map(|it| created(it).id).collect();
    let request = BulkResendRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        organization_id: ACME.to_owned(),
        invitation_ids,
        ..Default::default()
    };
    let dry = BulkResendRequest {
        validate_only: true,
        ..request.clone()
    };
    let before = rows(&world).await;
    assert_eq!(told_again(&resend_many(&world, dry).await), ". . daily");
    assert_eq!(rows(&world).await, before);
    let answer = resend_many(&world, request.clone()).await;
    assert_eq!(told_again(&answer), ". . daily");
    let after = rows(&world).await;
    assert_eq!((after.2, after.3), (5, 5));
    // A repetition says the same and takes nothing, a later one too.
    world.clock.advance(time::Duration::hours(7));
    assert!(resend_many(&world, request.clone()).await == answer);
    assert_eq!(rows(&world).await, after);
    let fresh = BulkResendRequest {
        request_id: String::new(),
        ..request
    };
    assert_eq!(told_again(&resend_many(&world, fresh).await), ". . .");
}

#[tokio::test]
async fn an_atomic_call_fits_as_a_whole_or_makes_nothing() {
    let mut world = World::builder()
        .quotas(QuotaLimits {
            organization_pending: Some(100),
            organization_daily: Some(3),
            address_daily: Some(1),
            ..QuotaLimits::OFF
        })
        .start()
        .await;
    world.may_leave_mail();
    let atomic = |emails: &[&str]| BulkCreateRequest {
        atomic: true,
        ..invite_request(emails)
    };
    for validate_only in [true, false] {
        let request = BulkCreateRequest {
            validate_only,
            request_id: uuid::Uuid::new_v4().to_string(),
            ..atomic(&["a@b.co", "b@b.co", "c@b.co", "d@b.co"])
        };
        let refused = world.client().bulk_create(request).await.err().unwrap();
        assert_eq!(
            refusal(&refused),
            (one("organization", "organization_daily"), TO_MIDNIGHT)
        );
        assert_eq!(rows(&world).await, (0, 0, 0, 0));
    }
    let answer = create(&world, atomic(&["a@b.co", "b@b.co", "c@b.co"])).await;
    assert_eq!(told(&answer), ". . .");
    assert_eq!(rows(&world).await, (3, 3, 3, 3));
    world.clock.advance(time::Duration::hours(6));
    let request = BulkCreateRequest {
        on_existing: OnExisting::Resend.into(),
        ..atomic(&["a@b.co"])
    };
    create(&world, request.clone()).await;
    let refused = world
        .client()
        .bulk_create(request.clone())
        .await
        .err()
        .unwrap();
    assert_eq!(refusal(&refused).0, one("address", "address_daily"));
    // What is wrong with an item matters more.
    let mut request = request;
    request.invitations.push(crate::support::item("broken"));
    let refused = world.client().bulk_create(request).await;
    assert_eq!(reason(refused), "ITEMS_FAILED");
}

#[tokio::test]
async fn a_dry_run_answers_as_the_call_does_and_takes_nothing() {
    let mut world = World::builder()
        .quotas(QuotaLimits {
            organization_pending: Some(6),
            organization_daily: Some(4),
            address_daily: Some(1),
            ..QuotaLimits::OFF
        })
        .start()
        .await;
    world.may_leave_mail();
    let other = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(&["a1@example.net"])
    };
    create(&world, other).await;
    let before = rows(&world).await;
    let request = request_for(&emails("a", 6));
    let dry = BulkCreateRequest {
        validate_only: true,
        ..request.clone()
    };
    let expected = ". address . . . daily";
    assert_eq!(told(&create(&world, dry.clone()).await), expected);
    assert_eq!(told(&create(&world, dry).await), expected);
    assert_eq!(rows(&world).await, before);
    assert_eq!(told(&create(&world, request).await), expected);
}

#[tokio::test]
async fn a_repetition_answers_as_the_first_did_and_takes_nothing() {
    let mut world = World::builder().quotas(daily(2)).start().await;
    world.may_leave_mail();
    let request = BulkCreateRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        ..request_for(&emails("a", 3))
    };
    let first = create(&world, request.clone()).await;
    assert_eq!(told(&first), ". . daily");
    let taken = rows(&world).await;
    world.clock.advance(time::Duration::hours(7));
    assert!(create(&world, request).await == first);
    assert_eq!(rows(&world).await, taken);
}

#[tokio::test]
async fn callers_of_one_organization_reach_its_quotas_together_and_never_pass_them() {
    for (quotas, expected) in [(daily(100), 100), (pending(70), 70)] {
        let mut world = World::builder().quotas(quotas).start().await;
        world.may_leave_mail();
        let calls = (0..16).map(|caller| {
            let mut client = world.client();
            let request = request_for(&emails(&format!("c{caller}-"), 9));
            tokio::spawn(async move { client.bulk_create(request).await })
        });
        let mut made = 0;
        for answer in futures::future::join_all(calls).await {
            let answer = answer.unwrap().unwrap().into_inner();
            made += answer.created_count;
            let outcomes: Vec<bool> = answer
                .results
                .iter()
                .map(|result| result.outcome() == CreateOutcome::Created)
                .collect();
            assert!(
                outcomes.is_sorted_by(|one, other| one >= other),
                "the first"
            );
        }
        assert_eq!(made, expected);
        let rows = rows(&world).await;
        assert_eq!((rows.0, rows.2), (i64::from(expected), i64::from(expected)));
        assert_eq!(deadlocks(&world).await, 0);
    }
}

#[tokio::test]
async fn organizations_share_what_an_address_may_get_and_never_pass_it() {
    let mut world = World::builder().quotas(address(10)).start().await;
    world.may_leave_mail();
    let organizations: Vec<String> = (0..16).map(|number| format!("org{number}")).collect();
    add_organizations(&world, &organizations).await;
    let calls = organizations.iter().enumerate().map(|(index, id)| {
        let mut client = world.client();
        let mut emails = emails("shared", 20);
        if index % 2 == 1 {
            emails.reverse();
        }
        emails.push(format!("own{index}@example.net"));
        let request = BulkCreateRequest {
            organization_id: id.clone(),
            ..request_for(&emails)
        };
        tokio::spawn(async move { client.bulk_create(request).await })
    });
    let mut made = 0;
    for answer in futures::future::join_all(calls).await {
        let answer = answer.unwrap().unwrap().into_inner();
        assert_eq!(answer.results[20].outcome(), CreateOutcome::Created);
        made += answer.created_count;
    }
    assert_eq!(made, 20 * 10 + 16);
    let mut database = world.database().await;
    let most: i32 = sqlx::query_scalar("SELECT max(used) FROM address_quotas")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(most, 10);
    assert_eq!(deadlocks(&world).await, 0);
}

async fn add_organizations(world: &World, ids: &[String]) {
    let organizations = ids
        .iter()
        .map(|id| Organization {
            id: id.clone(),
            name: "Many".to_owned(),
            ..Default::default()
        })
        .collect();
    let request = UpsertOrganizationsRequest { organizations };
    world
        .directory()
        .upsert_organizations(request)
        .await
        .unwrap();
    let memberships = ids
        .iter()
        .map(|id| invitations::proto::Membership {
            organization_id: id.clone(),
            user_id: "ada".to_owned(),
            role: "admin".to_owned(),
            ..Default::default()
        })
        .collect();
    let request = UpsertMembershipsRequest { memberships };
    world.directory().upsert_memberships(request).await.unwrap();
}

/// A request of the use case itself, for a process without a server.
fn directly(emails: &[String]) -> BulkCreate {
    let item = |email: &String| ItemInput {
        email: EmailAddress::parse(email).unwrap().given().to_owned(),
        role: String::new(),
        inviter_user_id: String::new(),
        redirect_url: String::new(),
        public_metadata: Some(serde_json::Map::new()),
        private_metadata: Some(serde_json::Map::new()),
        expiry: invitations::domain::expiry::Expiry::Default,
        notify: true,
        locale: String::new(),
        message: String::new(),
        accept_policy: Some(invitations::domain::invitation::AcceptPolicy::InvitedEmail),
        reminder_lead: invitations::domain::reminder::ReminderInput::Unset,
    };
    BulkCreate {
        actor: test_actor(),
        request_id: None,
        request_hash: [0; 32],
        organization_id: OrganizationId::parse(ACME).unwrap(),
        inviter_user_id: "ada".to_owned(),
        items: emails.iter().map(item).collect(),
        on_existing: Existing::Fail,
        atomic: false,
        validate_only: false,
        return_link: false,
    }
}

#[tokio::test]
async fn processes_over_one_database_agree() {
    let quotas = QuotaLimits {
        organization_pending: Some(45),
        organization_daily: Some(40),
        address_daily: Some(2),
        ..QuotaLimits::OFF
    };
    let mut world = World::builder().quotas(quotas).start().await;
    world.may_leave_mail();
    let services: Vec<Arc<Service>> = (0..2)
        .map(|_| Arc::new(world.service_with(KEYS, quotas)))
        .collect();
    let calls = (0..16).map(|number| {
        let service = Arc::clone(&services[number % 2]);
        let request = directly(&emails(&format!("c{number}-"), 4));
        tokio::spawn(async move { service.bulk_create(request).await })
    });
    let mut made = 0;
    for batch in futures::future::join_all(calls).await {
        let batch = batch.unwrap().unwrap();
        let is_made = |outcome| outcome == ItemOutcome::Created;
        made += batch
            .results
            .iter()
            .filter(|it| is_made(it.outcome))
            .count();
    }
    assert_eq!(made, 40);
    assert_eq!(rows(&world).await, (40, 40, 40, 40));
}

#[tokio::test]
async fn calls_that_meet_on_the_same_invitations_and_quotas_do_not_deadlock() {
    let mut world = World::builder()
        .quotas(QuotaLimits {
            organization_pending: Some(60),
            organization_daily: Some(1_000),
            address_daily: Some(7),
            ..QuotaLimits::OFF
        })
        .start()
        .await;
    world.may_leave_mail();
    let shared = emails("s", 50);
    let made = create(&world, request_for(&shared)).await;
    let ids: Vec<String> = made.results.iter().map(|it| created(it).id).collect();
    let calls = (0..16).map(|number| {
        let mut client = world.client();
        let (mut ids, mut all) = (ids.clone(), shared.clone());
        all.extend(emails(&format!("own{number}-"), 3));
        if number % 2 == 0 {
            ids.reverse();
            all.reverse();
        }
        tokio::spawn(async move {
            let on_existing = match number % 4 {
                0 => {
                    let request = BulkResendRequest {
                        organization_id: ACME.to_owned(),
                        invitation_ids: ids,
                        ..Default::default()
                    };
                    return client.bulk_resend(request).await.map(|_| ());
                }
                1 => OnExisting::Resend,
                2 => OnExisting::Replace,
                _ => OnExisting::Return,
            };
            let request = BulkCreateRequest {
                on_existing: on_existing.into(),
                ..request_for(&all)
            };
            client.bulk_create(request).await.map(|_| ())
        })
    });
    let mut done = 0;
    for answer in futures::future::join_all(calls).await {
        match answer.unwrap() {
            Ok(()) => done += 1,
            refused => assert_eq!(reason(refused), "CONFLICT"),
        }
    }
    assert!(done > 0);
    let mut database = world.database().await;
    let (pending, most): (i64, i32) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations WHERE state = 'pending'), (SELECT max(used) FROM address_quotas)",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert!(pending <= 60 && most <= 7, "{pending} {most}");
    assert_eq!(deadlocks(&world).await, 0);
}

#[tokio::test]
async fn days_that_are_over_are_forgotten() {
    let mut world = World::builder()
        .quotas(QuotaLimits {
            address_daily: Some(1),
            ..daily(9)
        })
        .start()
        .await;
    world.may_leave_mail();
    for day in 0..3 {
        create(&world, request_for(&emails(&format!("day{day}-"), 2))).await;
        world.clock.advance(time::Duration::days(1));
    }
    world.service.sweep().await.unwrap();
    let rows = rows(&world).await;
    assert_eq!((rows.2, rows.3), (2, 2), "yesterday alone");
}

#[tokio::test]
async fn a_caller_that_goes_too_fast_is_told_when_to_go_on() {
    let mut world = World::builder().caller_rate(100).start().await;
    world.may_leave_mail();
    let dry = BulkCreateRequest {
        validate_only: true,
        ..request_for(&emails("a", 10_000))
    };
    for _ in 0..2 {
        create(&world, dry.clone()).await;
    }
    let statements = || async {
        let mut database = world.database().await;
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM invitations")
            .fetch_one(&mut database)
            .await
            .unwrap()
    };
    let refused = world
        .client()
        .bulk_create(request_for(&emails("b", 50)))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let delay = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_millis(500)));
    assert_eq!(statements().await, 0);
    for answer in [
        reason(
            world
                .client()
                .resend(ResendRequest {
                    organization_id: ACME.to_owned(),
                    invitation_id: uuid::Uuid::new_v4().to_string(),
                    ..Default::default()
                })
                .await,
        ),
        reason(
            world
                .client()
                .bulk_resend(BulkResendRequest {
                    organization_id: ACME.to_owned(),
                    invitation_ids: vec![uuid::Uuid::new_v4().to_string()],
                    ..Default::default()
                })
                .await,
        ),
    ] {
        assert_eq!(answer, "RATE_LIMITED");
    }
    // Others go on, and so does whoever waits.
    let others = world
        .client_of("acme-only")
        .bulk_create(request_for(&emails("c", 1)))
        .await;
    assert_eq!(others.unwrap().into_inner().created_count, 1);
    world.clock.advance(time::Duration::milliseconds(500));
    let answer = create(&world, request_for(&emails("b", 50))).await;
    assert_eq!(answer.created_count, 50);
}

#[tokio::test]
async fn whoever_fails_to_accept_twenty_times_in_a_minute_waits() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let mut answers = HashSet::new();
    for _ in 0..20 {
        answers.insert(reason(world.accept(&token, "mallory", "m@b.co").await));
    }
    assert_eq!(answers, HashSet::from(["EMAIL_MISMATCH".to_owned()]));
    let refused = world
        .accept(&token, "mallory", "a@b.co")
        .await
        .err()
        .unwrap();
    let delay = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_mins(1)));
    assert_eq!(reason(Err::<(), _>(refused)), "RATE_LIMITED");
    let request = accept_request(&token, "mallory", "m@b.co");
    let other = world.client_of("acme-only").accept(request).await;
    assert_eq!(reason(other), "EMAIL_MISMATCH", "another caller");
    world.clock.advance(time::Duration::minutes(1));
    world.accept(&token, "alice", "a@b.co").await.unwrap();
}
