//! Whoever is on the suppression list is not invited, and whoever invites is told so.

use invitations::domain::actor::Actor;
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::bounce_address::SentMail;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::OrganizationId;
use invitations::domain::keyring::Keyring;
use invitations::domain::suppression::SuppressionReason;
use invitations::proto::{
    BulkCreateRequest, BulkCreateResult, CreateOutcome, DeclineRequest, ErrorReason, ItemViolation,
    NewInvitation, OnExisting, ResendRequest, SuppressionServiceAddRequest,
    SuppressionServiceLiftRequest,
};
use invitations::service::{
    CheckKeys, Feedback, FeedbackKind, FeedbackSource, LiftOutcome, LiftSuppressions,
    ListSuppressions, RecordFeedback, Resend,
};
use invitations::store::Connection;
use invitations::store::suppressions::{self, SuppressionRow};
use time::Duration;
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::{
    ACME, KEYS, OTHER, START, World, create_request, created, invite_request, item, item_reason,
    reason,
};

/// Another ring of one key.
pub(crate) const KEY_2: &str = "2 HxweHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgA\n";

/// Puts addresses on the list of an organization, or on that of all.
pub(crate) async fn add(world: &World, organization_id: &str, emails: &[&str]) {
    let request = SuppressionServiceAddRequest {
        emails: emails.iter().map(|email| (*email).to_owned()).collect(),
        organization_id: organization_id.to_owned(),
        expire_time: None,
    };
    let answer = world.suppressions().add(request).await.unwrap();
    assert_eq!(answer.into_inner().failed_count, 0);
}

/// Takes an address off the list of an organization, or off that of all.
pub(crate) async fn lift(world: &World, organization_id: &str, email: &str) {
    let request = SuppressionServiceLiftRequest {
        emails: vec![email.to_owned()],
        organization_id: organization_id.to_owned(),
    };
    let answer = world.suppressions().lift(request).await.unwrap();
    assert_eq!(answer.into_inner().failed_count, 0);
}

/// A suppression that a test writes past the service.
pub(crate) fn row(organization_id: &str, email: &str, reason: SuppressionReason) -> SuppressionRow {
    let tagger = AddressTagger::new(&Keyring::parse(KEYS).unwrap());
    SuppressionRow {
        organization_id: organization_id.to_owned(),
        tag: tagger.tag_of_normalized(email),
        reason,
        expires_at: reason.ends_at(START),
    }
}

async fn write(world: &World, rows: &[SuppressionRow]) {
    let mut database = world.database().await;
    suppressions::upsert_many(&mut Connection::new(&mut database), rows, START)
        .await
        .unwrap();
}

async fn bulk_create(world: &World, request: BulkCreateRequest) -> Vec<BulkCreateResult> {
    let answer = world.client().bulk_create(request).await.unwrap();
    answer.into_inner().results
}

/// What became of one address: empty if it was invited, else the reason.
async fn outcome(world: &World, request: BulkCreateRequest) -> &'static str {
    let results = bulk_create(world, request).await;
    match results[0].outcome() {
        CreateOutcome::Failed => item_reason(&results[0]).as_str_name(),
        _ => "",
    }
}

const SUPPRESSED: &str = "ERROR_REASON_EMAIL_SUPPRESSED";

fn quietly(email: &str) -> BulkCreateRequest {
    BulkCreateRequest {
        invitations: vec![NewInvitation {
            notify: Some(false),
            ..item(email)
        }],
        ..create_request(vec![])
    }
}

#[tokio::test]
async fn a_suppressed_address_is_refused_and_the_others_are_invited() {
    let mut world = World::start().await;
    add(&world, "", &["gone@b.co"]).await;
    let request = || invite_request(&["a@b.co", "Gone@B.CO", "c@b.co"]);
    let dry = BulkCreateRequest {
        validate_only: true,
        ..request()
    };
    for request in [dry, request()] {
        let results = bulk_create(&world, request).await;
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
async fn a_call_that_is_repeated_answers_as_it_did_whatever_was_suppressed_since() {
    let mut world = World::start().await;
    add(&world, "", &["gone@b.co"]).await;
    let request = BulkCreateRequest {
        request_id: Uuid::new_v4().to_string(),
        ..invite_request(&["a@b.co", "gone@b.co"])
    };
    let first = bulk_create(&world, request.clone()).await;
    add(&world, "", &["a@b.co"]).await;
    lift(&world, "", "gone@b.co").await;
    assert!(bulk_create(&world, request).await == first);
    world.may_leave_mail();
}

#[tokio::test]
async fn what_else_is_wrong_comes_first() {
    let mut world = World::start().await;
    world.invite(&["pending@b.co"]).await;
    world.deliver_all().await;
    add(
        &world,
        "",
        &["grace@example.com", "pending@b.co", "gone@b.co"],
    )
    .await;
    let member = outcome(&world, invite_request(&["grace@example.com"])).await;
    assert_eq!(member, "ERROR_REASON_ALREADY_MEMBER");
    let with = |on_existing: OnExisting| BulkCreateRequest {
        on_existing: on_existing.into(),
        ..invite_request(&["pending@b.co"])
    };
    let results = bulk_create(&world, with(OnExisting::Fail)).await;
    assert_eq!(item_reason(&results[0]), ErrorReason::AlreadyInvited);
    assert!(results[0].invitation.is_some());
    let results = bulk_create(&world, with(OnExisting::Return)).await;
    assert_eq!(results[0].outcome(), CreateOutcome::Existing);
    assert_eq!(outcome(&world, with(OnExisting::Resend)).await, SUPPRESSED);
    assert_eq!(outcome(&world, with(OnExisting::Replace)).await, SUPPRESSED);

    let results = bulk_create(&world, invite_request(&["gone@b.co", "gone@b.co"])).await;
    assert_eq!(item_reason(&results[0]), ErrorReason::EmailSuppressed);
    assert_eq!(item_reason(&results[1]), ErrorReason::DuplicateInRequest);
    let mut request = invite_request(&["gone@b.co"]);
    request.invitations[0].role = "owner".to_owned();
    let error = bulk_create(&world, request).await[0].error.clone().unwrap();
    let reasons: Vec<_> = error.violations.iter().map(ItemViolation::reason).collect();
    assert_eq!(
        reasons,
        [ErrorReason::RoleUnknown, ErrorReason::EmailSuppressed]
    );
}

#[tokio::test]
async fn without_a_mail_only_a_bounce_is_no_obstacle() {
    let mut world = World::start().await;
    for reason in SuppressionReason::ALL {
        let email = format!("{}@b.co", reason.as_str());
        write(&world, &[row("", &email, reason)]).await;
        assert_eq!(outcome(&world, invite_request(&[&email])).await, SUPPRESSED);
        let is_bounce = reason == SuppressionReason::HardBounce;
        let expected = if is_bounce { "" } else { SUPPRESSED };
        assert_eq!(
            outcome(&world, quietly(&email)).await,
            expected,
            "{reason:?}"
        );
    }
    let bounced = "hard_bounce@b.co";
    let with = |on_existing: OnExisting| BulkCreateRequest {
        on_existing: on_existing.into(),
        ..quietly(bounced)
    };
    // What is resent is mailed, whatever the item says; what is replaced is made anew.
    assert_eq!(outcome(&world, with(OnExisting::Resend)).await, SUPPRESSED);
    assert_eq!(outcome(&world, with(OnExisting::Replace)).await, "");
    // The strongest of several counts.
    write(&world, &[row(ACME, bounced, SuppressionReason::Declined)]).await;
    assert_eq!(outcome(&world, with(OnExisting::Replace)).await, SUPPRESSED);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_suppressed_invitation_is_not_sent_again_until_the_list_lets_it() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        ..Default::default()
    };
    add(&world, ACME, &["a@b.co"]).await;
    let refused = world.client().resend(request.clone()).await;
    assert_eq!(
        refused.as_ref().err().map(tonic::Status::code),
        Some(Code::FailedPrecondition)
    );
    assert_eq!(reason(refused), "EMAIL_SUPPRESSED");
    lift(&world, ACME, "a@b.co").await;
    world.client().resend(request).await.unwrap();
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn whoever_declines_may_refuse_further_invitations_of_this_organization_alone() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let client = world.client();
    let decline = |token: &str, suppress| {
        let mut client = client.clone();
        let token = token.to_owned();
        async move { client.decline(DeclineRequest { token, suppress }).await }
    };
    decline(&token, false).await.unwrap();
    assert_eq!(outcome(&world, invite_request(&["a@b.co"])).await, "");
    world.deliver_all().await;
    let token = world.mail_to("a@b.co").token();
    decline(&token, false).await.unwrap();
    // Said afterwards it counts as well, and saying it twice is saying it once.
    for _ in 0..2 {
        decline(&token, true).await.unwrap();
        let result = outcome(&world, invite_request(&["a@b.co"])).await;
        assert_eq!(result, SUPPRESSED);
    }
    assert_eq!(outcome(&world, quietly("a@b.co")).await, SUPPRESSED);
    let elsewhere = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(&["a@b.co"])
    };
    assert_eq!(outcome(&world, elsewhere).await, "");
    assert_eq!(world.deliver_all().await, 1);
    lift(&world, ACME, "a@b.co").await;
    assert_eq!(outcome(&world, quietly("a@b.co")).await, "");
}

#[tokio::test]
async fn whoever_may_not_decline_suppresses_nothing() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let request = DeclineRequest {
        token,
        suppress: true,
    };
    let refused = world.client().decline(request).await;
    assert_eq!(reason(refused), "ALREADY_ACCEPTED");
    let mut database = world.database().await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM suppressions")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_bounced_address_may_be_invited_after_half_a_year() {
    let mut world = World::start().await;
    let bounce = row("", "bounced@b.co", SuppressionReason::HardBounce);
    let unsubscribed = row("", "unsubscribed@b.co", SuppressionReason::Unsubscribed);
    write(&world, &[bounce, unsubscribed]).await;
    world
        .clock
        .advance(Duration::days(180) - Duration::seconds(1));
    world.service.sweep().await.unwrap();
    let both = || invite_request(&["bounced@b.co", "unsubscribed@b.co"]);
    let results = bulk_create(&world, both()).await;
    assert!(
        results
            .iter()
            .all(|result| item_reason(result) == ErrorReason::EmailSuppressed)
    );
    world.clock.advance(Duration::seconds(1));
    // True at once for whoever reads; the sweeper only cleans up.
    let results = bulk_create(&world, both()).await;
    created(&results[0]);
    assert_eq!(item_reason(&results[1]), ErrorReason::EmailSuppressed);
    let mut database = world.database().await;
    let mut left = Vec::new();
    for _ in 0..2 {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM suppressions")
            .fetch_one(&mut database)
            .await
            .unwrap();
        left.push(count);
        world.service.sweep().await.unwrap();
    }
    assert_eq!(left, [2, 1]);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_suppression_outlives_the_key_it_was_made_with_as_long_as_that_is_in_the_ring() {
    let world = World::start().await;
    add(&world, "", &["a@b.co"]).await;
    world.service.run(CheckKeys).await.unwrap().unwrap();

    // The newer key signs, the older one is there to be looked under.
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

    // Without it, the address would be mailed again and nobody would know why.
    let lost = world.service_with_keys(KEY_2);
    let refused = lost.run(CheckKeys).await.unwrap().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the suppression list needs key 1, which is not in the keys file"
    );

    let request = LiftSuppressions {
        actor: Actor::from_outside("test"),
        organization_id: None,
        emails: vec![Ok(EmailAddress::parse("a@b.co").unwrap())],
    };
    let lifted = rotated.run(request).await.unwrap();
    assert_eq!(lifted, [Ok(LiftOutcome::Lifted)]);
    lost.run(CheckKeys).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_key_that_only_ended_suppressions_need_may_go() {
    let world = World::start().await;
    world.service.run(CheckKeys).await.unwrap().unwrap();
    write(&world, &[row("", "a@b.co", SuppressionReason::HardBounce)]).await;
    let lost = world.service_with_keys(KEY_2);
    lost.run(CheckKeys).await.unwrap().unwrap_err();
    world.clock.advance(Duration::days(180));
    lost.run(CheckKeys).await.unwrap().unwrap();
}

#[tokio::test]
async fn invitations_are_checked_under_every_key_of_the_ring() {
    let mut world = World::start().await;
    // What another process wrote, whose ring begins with another key.
    let (invitation, _) = world.invite_one("a@b.co").await;
    let rotated = world.service_with_keys(&format!("{KEYS}{KEY_2}"));
    let newer = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    let feedback = Feedback {
        mail: SentMail {
            invitation_id: Uuid::parse_str(&invitation.id).unwrap(),
            send_seq: 1,
        },
        kind: FeedbackKind::Complaint,
        text: String::new(),
        reply_code: None,
        source: FeedbackSource::Postmark,
        event_id: "1".to_owned(),
    };
    newer.run(RecordFeedback(feedback)).await.unwrap();
    let request = || Resend {
        actor: Actor::from_outside("test"),
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
