//! Suppressed addresses are not invited, and the caller gets the reason.

use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::OrganizationId;
use invitations::domain::suppression::SuppressionReason;
use invitations::proto::{
    BulkCreateRequest, CreateOutcome, DeclineRequest, ErrorReason, ItemViolation, OnExisting,
};
use invitations::service::{
    CheckKeys, Feedback, FeedbackKind, FeedbackSource, LiftOutcome, LiftSuppressions,
    ListSuppressions, RecordFeedback, Resend,
};
use time::Duration;
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::feedback::feedback;
use crate::support::suppression_rows::{suppression_row, write_suppressions};
use crate::support::{
    ACME, KEY_2, KEYS, World, create_request, created, decline_request, invite_request,
    invite_to_other_request, item_reason, item_without_email, new_request_id, reason,
    resend_request, status_reason, test_actor,
};

const SUPPRESSED: &str = "ERROR_REASON_EMAIL_SUPPRESSED";

/// The reason of the first item, or an empty text if the item succeeded.
async fn failure(world: &World, request: BulkCreateRequest) -> &'static str {
    let results = world.bulk_create(request).await.results;
    match results[0].outcome() {
        CreateOutcome::Failed => item_reason(&results[0]).as_str_name(),
        _ => "",
    }
}

fn request_without_email(email: &str) -> BulkCreateRequest {
    create_request(vec![item_without_email(email)])
}

#[tokio::test]
async fn a_suppressed_address_fails_and_the_other_items_are_created() {
    let mut world = World::start().await;
    world.suppress("", &["gone@b.co"]).await;
    let request = || invite_request(&["a@b.co", "Gone@B.CO", "c@b.co"]);
    let dry = BulkCreateRequest {
        validate_only: true,
        ..request()
    };
    for request in [dry, request()] {
        let results = world.bulk_create(request).await.results;
        let error = results[1].error.clone().unwrap();
        assert_eq!(error.reason(), ErrorReason::EmailSuppressed);
        assert_eq!(error.code, i32::from(Code::FailedPrecondition));
        assert_eq!(error.violations[0].field, "email");
        assert!(results[1].invitation.is_none());
        created(&results[0]);
        created(&results[2]);
    }
    assert_eq!(world.deliver_all().await, 2);

    let atomic = BulkCreateRequest {
        atomic: true,
        ..invite_request(&["d@b.co", "gone@b.co"])
    };
    let status = world.client().bulk_create(atomic).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    let violation = details.bad_request().unwrap().field_violations[0].clone();
    assert_eq!(violation.field, "invitations[1].email");
    assert_eq!(violation.reason, "EMAIL_SUPPRESSED");
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_repeated_request_id_returns_the_first_response_after_suppressions_changed() {
    let mut world = World::start().await;
    world.suppress("", &["gone@b.co"]).await;
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&["a@b.co", "gone@b.co"])
    };
    let first = world.bulk_create(request.clone()).await.results;
    world.suppress("", &["a@b.co"]).await;
    world.lift_suppression("", "gone@b.co").await;
    assert!(world.bulk_create(request).await.results == first);
    world.may_leave_mail();
}

#[tokio::test]
async fn other_errors_take_precedence_over_suppression() {
    let mut world = World::start().await;
    world.invite(&["pending@b.co"]).await;
    world.deliver_all().await;
    world
        .suppress("", &["grace@example.com", "pending@b.co", "gone@b.co"])
        .await;
    let member = failure(&world, invite_request(&["grace@example.com"])).await;
    assert_eq!(member, "ERROR_REASON_ALREADY_MEMBER");
    let with = |on_existing: OnExisting| BulkCreateRequest {
        on_existing: on_existing.into(),
        ..invite_request(&["pending@b.co"])
    };
    let results = world.bulk_create(with(OnExisting::Fail)).await.results;
    assert_eq!(item_reason(&results[0]), ErrorReason::AlreadyInvited);
    assert!(results[0].invitation.is_some());
    let results = world.bulk_create(with(OnExisting::Return)).await.results;
    assert_eq!(results[0].outcome(), CreateOutcome::Existing);
    assert_eq!(failure(&world, with(OnExisting::Resend)).await, SUPPRESSED);
    assert_eq!(failure(&world, with(OnExisting::Replace)).await, SUPPRESSED);

    let results = world
        .bulk_create(invite_request(&["gone@b.co", "gone@b.co"]))
        .await
        .results;
    assert_eq!(item_reason(&results[0]), ErrorReason::EmailSuppressed);
    assert_eq!(item_reason(&results[1]), ErrorReason::DuplicateInRequest);
    let mut request = invite_request(&["gone@b.co"]);
    request.invitations[0].role = "owner".to_owned();
    let error = world.bulk_create(request).await.results[0]
        .error
        .clone()
        .unwrap();
    let reasons: Vec<_> = error.violations.iter().map(ItemViolation::reason).collect();
    assert_eq!(
        reasons,
        [ErrorReason::RoleUnknown, ErrorReason::EmailSuppressed]
    );
}

#[tokio::test]
async fn without_an_email_only_bounced_addresses_can_be_invited() {
    let mut world = World::start().await;
    for reason in SuppressionReason::ALL {
        let email = format!("{}@b.co", reason.as_str());
        write_suppressions(&world, &[suppression_row("", &email, reason)]).await;
        assert_eq!(failure(&world, invite_request(&[&email])).await, SUPPRESSED);
        let is_bounce = reason == SuppressionReason::HardBounce;
        let expected = if is_bounce { "" } else { SUPPRESSED };
        assert_eq!(
            failure(&world, request_without_email(&email)).await,
            expected,
            "{reason:?}"
        );
    }
    let bounced = "hard_bounce@b.co";
    let with = |on_existing: OnExisting| BulkCreateRequest {
        on_existing: on_existing.into(),
        ..request_without_email(bounced)
    };
    // A resend sends an email, whatever the item says. A replacement creates a new invitation.
    assert_eq!(failure(&world, with(OnExisting::Resend)).await, SUPPRESSED);
    assert_eq!(failure(&world, with(OnExisting::Replace)).await, "");
    // The strongest of several suppressions applies.
    write_suppressions(
        &world,
        &[suppression_row(ACME, bounced, SuppressionReason::Declined)],
    )
    .await;
    assert_eq!(failure(&world, with(OnExisting::Replace)).await, SUPPRESSED);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_suppressed_invitation_is_not_resent_until_the_suppression_is_lifted() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let request = resend_request(&invitation.id);
    world.suppress(ACME, &["a@b.co"]).await;
    let refused = world.client().resend(request.clone()).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(status_reason(&refused), "EMAIL_SUPPRESSED");
    world.lift_suppression(ACME, "a@b.co").await;
    world.client().resend(request).await.unwrap();
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn declining_with_suppress_blocks_only_this_organization() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    world.decline(&token).await.unwrap();
    assert_eq!(failure(&world, invite_request(&["a@b.co"])).await, "");
    world.deliver_all().await;
    let token = world.mail_to("a@b.co").token();
    world.decline(&token).await.unwrap();
    let decline_and_suppress = DeclineRequest {
        suppress: true,
        ..decline_request(&token)
    };
    // The address can be suppressed after the invitation was declined. A repetition changes nothing.
    for _ in 0..2 {
        let request = decline_and_suppress.clone();
        world.client().decline(request).await.unwrap();
        let result = failure(&world, invite_request(&["a@b.co"])).await;
        assert_eq!(result, SUPPRESSED);
    }
    assert_eq!(
        failure(&world, request_without_email("a@b.co")).await,
        SUPPRESSED
    );
    let elsewhere = invite_to_other_request(&["a@b.co"]);
    assert_eq!(failure(&world, elsewhere).await, "");
    assert_eq!(world.deliver_all().await, 1);
    world.lift_suppression(ACME, "a@b.co").await;
    assert_eq!(failure(&world, request_without_email("a@b.co")).await, "");
}

#[tokio::test]
async fn a_refused_decline_suppresses_nothing() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let request = DeclineRequest {
        suppress: true,
        ..decline_request(&token)
    };
    let refused = world.client().decline(request).await;
    assert_eq!(reason(refused), "ALREADY_ACCEPTED");
    assert_eq!(world.count("suppressions").await, 0);
}

#[tokio::test]
async fn a_hard_bounce_suppresses_an_address_for_180_days() {
    let mut world = World::start().await;
    let bounce = suppression_row("", "bounced@b.co", SuppressionReason::HardBounce);
    let unsubscribed = suppression_row("", "unsubscribed@b.co", SuppressionReason::Unsubscribed);
    write_suppressions(&world, &[bounce, unsubscribed]).await;
    world
        .clock
        .advance(Duration::days(180) - Duration::seconds(1));
    world.service.sweep().await.unwrap();
    let both = || invite_request(&["bounced@b.co", "unsubscribed@b.co"]);
    let results = world.bulk_create(both()).await.results;
    assert!(
        results
            .iter()
            .all(|result| item_reason(result) == ErrorReason::EmailSuppressed)
    );
    world.clock.advance(Duration::seconds(1));
    // The suppression has expired before the sweep, which only deletes the row.
    let results = world.bulk_create(both()).await.results;
    created(&results[0]);
    assert_eq!(item_reason(&results[1]), ErrorReason::EmailSuppressed);
    assert_eq!(world.count("suppressions").await, 2);
    world.service.sweep().await.unwrap();
    assert_eq!(world.count("suppressions").await, 1);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_suppression_is_found_as_long_as_its_key_is_in_the_keyring() {
    let world = World::start().await;
    world.suppress("", &["a@b.co"]).await;
    world.service.run(CheckKeys).await.unwrap().unwrap();

    // The new key signs, and addresses are looked up under the old one too.
    let rotated = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    rotated.run(CheckKeys).await.unwrap().unwrap();
    let request = ListSuppressions {
        organization_id: None,
        email: EmailAddress::parse("a@b.co").ok(),
        reason: None,
        after: None,
        page_size: 10,
    };
    let found = rotated.run(request).await.unwrap().items;
    assert_eq!(found.len(), 1);

    // Without the old key, the address would receive emails again.
    let lost = world.service_with_keys(KEY_2);
    let refused = lost.run(CheckKeys).await.unwrap().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the suppression list needs key 1, which is not in the keys file"
    );

    let request = LiftSuppressions {
        actor: test_actor(),
        organization_id: None,
        emails: vec![Ok(EmailAddress::parse("a@b.co").unwrap())],
    };
    let lifted = rotated.run(request).await.unwrap();
    assert_eq!(lifted, [Ok(LiftOutcome::Lifted)]);
    lost.run(CheckKeys).await.unwrap().unwrap();
}

#[tokio::test]
async fn expired_suppressions_do_not_require_their_key() {
    let world = World::start().await;
    world.service.run(CheckKeys).await.unwrap().unwrap();
    write_suppressions(
        &world,
        &[suppression_row("", "a@b.co", SuppressionReason::HardBounce)],
    )
    .await;
    let rotated = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    rotated.run(CheckKeys).await.unwrap().unwrap();
    let lost = world.service_with_keys(KEY_2);
    lost.run(CheckKeys).await.unwrap().unwrap_err();
    world.clock.advance(Duration::days(180));
    lost.run(CheckKeys).await.unwrap().unwrap();
}

#[tokio::test]
async fn suppressions_are_looked_up_under_every_key_of_the_keyring() {
    let mut world = World::start().await;
    // A process whose first key is another one writes a suppression.
    let (invitation, _) = world.invite_one("a@b.co").await;
    let rotated = world.service_with_keys(&format!("{KEYS}{KEY_2}"));
    let newer = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    let complaint = Feedback {
        source: FeedbackSource::Postmark,
        ..feedback(&invitation.id, FeedbackKind::Complaint)
    };
    newer.run(RecordFeedback(complaint)).await.unwrap();
    let request = || Resend {
        actor: test_actor(),
        request_hash: [0; 32],
        organization_id: OrganizationId::parse(ACME).unwrap(),
        id: Uuid::parse_str(&invitation.id).unwrap(),
        rotate_token: false,
        expiry: Expiry::Default,
    };
    for service in [&rotated, &newer] {
        let refused = service.run(request()).await.err().unwrap();
        assert_eq!(refused.reason().code(), "EMAIL_SUPPRESSED");
    }
}
