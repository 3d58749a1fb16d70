//! Erasing an address: nothing of it is left anywhere, whatever happens at the same moment; and what of a user goes with
//! them.

use std::collections::BTreeSet;

use invitations::domain::bounce_address::SentMail;
use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, CreateOutcome, DeclineRequest, DeleteUserRequest,
    DeliveryState, EraseAddressRequest, EraseAddressResponse, ErrorReason, InvitationState,
    ListRequest, NewInvitation, PreviewRequest, RequeueRequest, ResendRequest,
    SuppressionServiceListRequest,
};
use invitations::service::{
    Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback,
};
use invitations::store::Connection;
use invitations::store::outbox::{self, Lease};
use invitations::store::settlements::{self, Settled, Settlement};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use sqlx::{AssertSqlSafe, PgConnection};
use time::Duration;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::relay::SmtpStep;
use crate::support::{
    ACME, OTHER, World, create_request, created, invite_request, item, item_reason, reason,
};

/// The address that is erased; every test looks for it in lower case.
const CANARY: &str = "Canary.Person@Example.COM";

/// The counts of an answer in their order, and whether the address is suppressed anew.
type Counts = ([i64; 5], bool);

/// Nothing was left to erase.
const NOTHING: Counts = ([0; 5], false);

fn counts(answer: &EraseAddressResponse) -> Counts {
    let counts = [
        answer.erased_invitation_count,
        answer.revoked_invitation_count,
        answer.canceled_mail_count,
        answer.erased_user_count,
        answer.nameless_user_count,
    ];
    (counts, answer.newly_suppressed)
}

async fn erase(world: &World, email: &str, suppress: bool) -> EraseAddressResponse {
    let request = EraseAddressRequest {
        email: email.to_owned(),
        suppress,
    };
    let answer = world.directory().erase_address(request).await;
    answer.unwrap().into_inner()
}

/// An invitation with everything in it that can be about a person.
fn telling(email: &str) -> NewInvitation {
    let word = Value {
        kind: Some(Kind::StringValue("canary metadata".to_owned())),
    };
    let metadata = Struct {
        fields: [("who".to_owned(), word)].into(),
    };
    NewInvitation {
        message: "the canary note".to_owned(),
        redirect_url: "https://app.example.com/canary".to_owned(),
        public_metadata: Some(metadata.clone()),
        private_metadata: Some(metadata),
        ..item(email)
    }
}

/// Invites into an organization with everything; returns the invitation's id.
async fn invite(world: &World, organization_id: &str, inviter: &str, email: &str) -> String {
    let request = BulkCreateRequest {
        request_id: Uuid::new_v4().to_string(),
        organization_id: organization_id.to_owned(),
        inviter_user_id: inviter.to_owned(),
        invitations: vec![telling(email)],
        ..Default::default()
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    created(&answer.into_inner().results[0]).id
}

/// Where a word stands, in any case: every column of every table that can hold one.
async fn places_of(database: &mut PgConnection, word: &str) -> BTreeSet<String> {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
          WHERE table_schema = 'public' AND data_type NOT IN ('boolean', 'timestamp with time zone')",
    )
    .fetch_all(&mut *database)
    .await
    .unwrap();
    assert!(columns.len() > 70, "{}", columns.len());
    let mut places = BTreeSet::new();
    for (table, column, kind) in columns {
        let text = match kind.as_str() {
            "bytea" => format!("encode({column}, 'escape')"),
            _ => format!("{column}::text"),
        };
        let statement = format!(
            "SELECT EXISTS (SELECT FROM {table} WHERE lower({text}) LIKE '%' || lower($1) || '%')"
        );
        let is_there: bool = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(word)
            .fetch_one(&mut *database)
            .await
            .unwrap();
        if is_there {
            places.insert(format!("{table}.{column}"));
        }
    }
    places
}

async fn state_of(world: &World, id: &str) -> (InvitationState, String) {
    let invitation = world.get(id).await;
    (invitation.state(), invitation.email)
}

async fn decline(world: &World, token: &str) {
    let request = DeclineRequest {
        token: token.to_owned(),
        suppress: true,
    };
    world.client().decline(request).await.unwrap();
}

#[tokio::test]
async fn nothing_of_an_erased_address_is_left_in_any_table() {
    let mut world = World::start().await;
    // Everywhere it can be: refused by a relay that says more than it should, accepted, declined, pending, expired.
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "451 4.7.1 the canary is busy");
    let accepted = invite(&world, ACME, "ada", CANARY).await;
    world.deliver_all().await;
    let delivery = world.get(&accepted).await.delivery.unwrap();
    assert!(
        delivery.last_error.contains("canary"),
        "{}",
        delivery.last_error
    );
    world.clock.advance(Duration::hours(1));
    world.deliver_all().await;
    let token = world.mailbox().remove(0).token();
    world.add_user("u-1", "Canary Person", &[CANARY]).await;
    world.accept(&token, "u-1", CANARY).await.unwrap();
    let declined = invite(&world, OTHER, "eve", CANARY).await;
    world.deliver_all().await;
    let other_token = world.mailbox().pop().unwrap().token();
    decline(&world, &other_token).await;
    let mut database = world.database().await;
    sqlx::query("DELETE FROM suppressions")
        .execute(&mut database)
        .await
        .unwrap();
    let pending = invite(&world, OTHER, "eve", CANARY).await;

    let before = places_of(&mut database, "canary").await;
    for place in [
        "invitations.email",
        "invitations.email_normalized",
        "invitations.message",
        "invitations.redirect_url",
        "invitations.public_metadata",
        "invitations.private_metadata",
        "invitations.delivery_error",
        "memberships.public_metadata",
        "user_emails.email_normalized",
        "users.name",
    ] {
        assert!(before.contains(place), "{place} is not in {before:?}");
    }

    let erased = erase(&world, &CANARY.to_lowercase(), true).await;
    assert_eq!(counts(&erased), ([3, 1, 1, 1, 1], true));
    assert_eq!(places_of(&mut database, "canary").await, BTreeSet::new());
    let empty = String::new;
    assert_eq!(
        state_of(&world, &accepted).await,
        (InvitationState::Accepted, empty())
    );
    let states: Vec<(Uuid, String, String)> =
        sqlx::query_as("SELECT id, state, delivery_state FROM invitations WHERE organization_id = 'other' ORDER BY id")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let told: Vec<_> = states
        .iter()
        .map(|(id, state, delivery)| (id.to_string(), state.as_str(), delivery.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (declined, "declined", "sent"),
            (pending, "revoked", "canceled")
        ]
    );
    // Again there is nothing.
    assert_eq!(counts(&erase(&world, CANARY, true).await), NOTHING);
    // Whoever is a member stays one.
    let role: String = sqlx::query_scalar("SELECT role FROM memberships WHERE user_id = 'u-1'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(role, "member");
}

#[tokio::test]
async fn whoever_has_another_address_keeps_their_name_and_others_keep_everything() {
    let mut world = World::start().await;
    world
        .add_user("u-1", "Two Addresses", &["one@b.co", "two@b.co"])
        .await;
    world.add_user("u-2", "Shares One", &["one@b.co"]).await;
    let results = world.invite(&["one@b.co", "one@b.com", "two@b.co"]).await;
    let ids: Vec<_> = results.results.iter().map(|it| created(it).id).collect();
    let erased = erase(&world, "ONE@b.co", false).await;
    assert_eq!(counts(&erased), ([1, 1, 1, 2, 1], false));
    let mut database = world.database().await;
    let users: Vec<(String, String)> =
        sqlx::query_as("SELECT id, name FROM users WHERE id LIKE 'u-%' ORDER BY id")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let names: Vec<_> = users.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["Two Addresses", ""]);
    for (id, email) in ids.iter().zip(["", "one@b.com", "two@b.co"]) {
        assert_eq!(state_of(&world, id).await.1, email);
    }
    assert_eq!(world.deliver_all().await, 2);
    // Without suppression, it is an address like any other.
    created(&world.invite(&["one@b.co"]).await.results[0]);
    world.deliver_all().await;
}

#[tokio::test]
async fn two_addresses_of_one_user_erased_at_once_leave_no_name() {
    let world = World::start().await;
    for round in 0..10 {
        let emails = [format!("one{round}@b.co"), format!("two{round}@b.co")];
        let emails = [emails[0].as_str(), emails[1].as_str()];
        world.add_user("u-1", "Two Addresses", &emails).await;
        let (one, two) = tokio::join!(
            erase(&world, emails[0], false),
            erase(&world, emails[1], false)
        );
        assert_eq!(one.nameless_user_count + two.nameless_user_count, 1);
    }
    let mut database = world.database().await;
    let name: String = sqlx::query_scalar("SELECT name FROM users WHERE id = 'u-1'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(name, "");
}

#[tokio::test]
async fn an_erased_invitation_is_found_by_its_address_and_can_be_neither_taken_nor_mailed() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
    let refused = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    world.deliver_all().await;
    world.clock.advance(Duration::days(31));
    world.service.sweep().await.unwrap();
    let (pending, token) = world.invite_one("a@b.co").await;
    assert_eq!(
        erase(&world, "a@b.co", false).await.erased_invitation_count,
        2
    );

    let list = ListRequest {
        organization_id: ACME.to_owned(),
        email: "A@b.co".to_owned(),
        ..Default::default()
    };
    let found = world.client().list(list).await.unwrap().into_inner();
    let found: Vec<_> = found
        .invitations
        .iter()
        .map(|it| (it.id.as_str(), it.email.as_str(), it.state()))
        .collect();
    assert_eq!(
        found,
        [
            (pending.id.as_str(), "", InvitationState::Revoked),
            (refused.as_str(), "", InvitationState::Expired)
        ]
    );
    let preview = PreviewRequest {
        token: token.clone(),
    };
    let answer = world.client().preview(preview).await;
    assert_eq!(reason(answer), "TOKEN_INVALID");
    let answer = world.accept(&token, "u-1", "a@b.co").await;
    assert_eq!(reason(answer), "TOKEN_INVALID");
    let resend = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: refused.clone(),
        ..Default::default()
    };
    let answer = world.client().resend(resend).await;
    assert_eq!(reason(answer), "ADDRESS_ERASED");
    let resend = BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![refused.clone(), pending.id.clone()],
        ..Default::default()
    };
    let answer = world.client().bulk_resend(resend).await.unwrap();
    let answer = answer.into_inner();
    let reasons: Vec<_> = answer
        .results
        .iter()
        .map(|it| it.error.as_ref().unwrap().reason())
        .collect();
    assert_eq!(reasons, [ErrorReason::AddressErased, ErrorReason::Revoked]);
    let requeue = RequeueRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![refused],
        all_dead: false,
    };
    let answer = world.mails_of("all").requeue(requeue).await.unwrap();
    let error = answer.into_inner().results.remove(0).error.unwrap();
    assert_eq!(error.reason(), ErrorReason::Expired);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_call_that_is_repeated_after_the_erasure_answers_without_the_address() {
    let mut world = World::start().await;
    let request = BulkCreateRequest {
        request_id: Uuid::new_v4().to_string(),
        invitations: vec![telling("a@b.co"), item("c@b.co")],
        ..create_request(vec![])
    };
    let first = world.client().bulk_create(request.clone()).await.unwrap();
    erase(&world, "a@b.co", false).await;
    let again = world.client().bulk_create(request).await.unwrap();
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(first.batch_id, again.batch_id);
    assert_eq!(again.created_count, 2);
    let erased = again.results[0].invitation.clone().unwrap();
    assert_eq!((erased.email, erased.message), Default::default());
    assert!(first.results[1] == again.results[1]);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_suppressed_address_is_invited_by_nobody_any_more() {
    let world = World::start().await;
    assert!(erase(&world, CANARY, true).await.newly_suppressed);
    assert!(!erase(&world, CANARY, true).await.newly_suppressed);
    let answer = world.invite(&[CANARY]).await;
    assert_eq!(
        item_reason(&answer.results[0]),
        ErrorReason::EmailSuppressed
    );
    let request = SuppressionServiceListRequest {
        email: CANARY.to_owned(),
        ..Default::default()
    };
    let found = world.suppressions().list(request).await.unwrap();
    assert_eq!(found.into_inner().suppressions.len(), 1);
}

#[tokio::test]
async fn what_is_no_address_is_refused_and_named() {
    let world = World::start().await;
    for (email, expected) in [
        ("", "FIELD_REQUIRED"),
        ("nobody", "EMAIL_INVALID"),
        ("\u{e9}@b.co", "EMAIL_UNSUPPORTED"),
    ] {
        let request = EraseAddressRequest {
            email: email.to_owned(),
            suppress: true,
        };
        let answer = world.directory().erase_address(request).await;
        let status = answer.err().unwrap();
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(
            (violation.field.as_str(), violation.reason.as_str()),
            ("email", expected)
        );
    }
}

#[tokio::test]
async fn an_address_with_many_invitations_is_erased_in_one_call() {
    let world = World::start().await;
    let mut database = world.database().await;
    sqlx::query(
        "INSERT INTO invitations
                (id, batch_id, created_at, updated_at, expires_at, ended_at, generation, send_seq, delivery_attempts,
                 key_id, state, accept_policy, delivery_state, nonce, organization_id, email, email_normalized, role,
                 inviter_user_id, locale, redirect_url, message)
         SELECT gen_random_uuid(), gen_random_uuid(), now(), now(), now(), now(), 1, 0, 0, 1, 'revoked',
                'invited_email', 'not_requested', decode(repeat('00', 16), 'hex'), 'acme', 'a@b.co', 'a@b.co', 'member',
                'ada', '', '', ''
           FROM generate_series(1, 1201)",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let erased = erase(&world, "a@b.co", false).await;
    assert_eq!(
        (
            erased.erased_invitation_count,
            erased.revoked_invitation_count
        ),
        (1_201, 0)
    );
    assert_eq!(places_of(&mut database, "a@b.co").await, BTreeSet::new());
}

#[tokio::test]
async fn an_acceptance_at_the_same_moment_wins_or_loses_and_leaves_no_address() {
    let mut world = World::start().await;
    let (mut won, mut lost) = (0, 0);
    for round in 0..20 {
        let (email, user) = (format!("person{round}@b.co"), format!("user{round}"));
        let (invitation, token) = world.invite_one(&email).await;
        let (accepted, erased) = tokio::join!(
            world.accept(&token, &user, &email),
            erase(&world, &email, false)
        );
        assert_eq!(erased.erased_invitation_count, 1);
        let (state, left) = state_of(&world, &invitation.id).await;
        assert_eq!(left, "");
        if accepted.is_ok() {
            assert_eq!(
                (state, erased.revoked_invitation_count),
                (InvitationState::Accepted, 0)
            );
            won += 1;
        } else {
            assert_eq!(
                (state, erased.revoked_invitation_count),
                (InvitationState::Revoked, 1)
            );
            let refused = reason(accepted);
            assert!(
                ["REVOKED", "TOKEN_INVALID"].contains(&refused.as_str()),
                "{refused}"
            );
            lost += 1;
        }
        let mut database = world.database().await;
        assert_eq!(places_of(&mut database, &email).await, BTreeSet::new());
        let members: i64 =
            sqlx::query_scalar("SELECT count(*) FROM memberships WHERE user_id = $1")
                .bind(&user)
                .fetch_one(&mut database)
                .await
                .unwrap();
        assert_eq!(members == 1, state == InvitationState::Accepted);
    }
    assert_eq!(won + lost, 20);
}

#[tokio::test]
async fn what_is_made_at_the_same_moment_is_erased_or_not_mailed_and_gone_with_the_next_call() {
    let mut world = World::start().await;
    for round in 0..10 {
        let email = format!("person{round}@b.co");
        let calls = (0..4).map(|number| {
            let mut client = world.client();
            let (organization_id, inviter) = [(ACME, "ada"), (OTHER, "eve")][number % 2];
            let request = BulkCreateRequest {
                organization_id: organization_id.to_owned(),
                inviter_user_id: inviter.to_owned(),
                invitations: vec![telling(&email)],
                ..Default::default()
            };
            async move { client.bulk_create(request).await.unwrap().into_inner() }
        });
        let (answers, erased) = tokio::join!(
            futures::future::join_all(calls),
            erase(&world, &email, true)
        );
        let made = answers
            .iter()
            .filter(|it| it.results[0].outcome() == CreateOutcome::Created)
            .count();
        world.deliver_all().await;
        assert!(world.mailbox().is_empty());
        let again = erase(&world, &email, true).await;
        let total = erased.erased_invitation_count + again.erased_invitation_count;
        assert_eq!(total, i64::try_from(made).unwrap());
        let mut database = world.database().await;
        assert_eq!(places_of(&mut database, &email).await, BTreeSet::new());
        assert_eq!(counts(&erase(&world, &email, true).await), NOTHING);
    }
}

#[tokio::test]
async fn a_mail_in_the_hands_of_a_worker_brings_nothing_back_and_is_not_tried_again() {
    let mut world = World::start().await;
    let invitation = created(&world.invite(&[CANARY]).await.results[0]);
    let mut database = world.database().await;
    let now = invitations::clock::Clock::now(&*world.clock);
    let lease = Lease {
        token: Uuid::new_v4(),
        until: now + Duration::minutes(2),
    };
    let claimed = outbox::claim(&mut Connection::new(&mut database), 10, lease, now)
        .await
        .unwrap();
    let erased = erase(&world, CANARY, false).await;
    // It is in nobody's power to call it back.
    assert_eq!(
        (erased.revoked_invitation_count, erased.canceled_mail_count),
        (1, 0)
    );
    let settled = Settled {
        key: claimed[0].key.clone(),
        lease_token: lease.token,
        settlement: Settlement::Deferred {
            next_attempt_at: now,
            is_counted: true,
            error: "the canary is busy".to_owned(),
            reply_code: Some(451),
        },
        suppression: None,
    };
    let mut transaction = sqlx::Connection::begin(&mut database).await.unwrap();
    let written =
        settlements::settle_many(&mut Connection::new(&mut transaction), &[settled], now).await;
    assert_eq!(written.unwrap().len(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(places_of(&mut database, "canary").await, BTreeSet::new());
    // Once more it is claimed, and that is its end.
    assert_eq!(world.deliver_all().await, 1);
    assert!(world.mailbox().is_empty());
    let delivery = world.get(&invitation.id).await.delivery.unwrap();
    assert_eq!(delivery.state(), DeliveryState::Canceled);
}

#[tokio::test]
async fn a_bounce_that_is_reported_after_the_erasure_still_spares_the_address() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("Canary.Person@example.com").await;
    erase(&world, CANARY, false).await;
    let feedback = |number: i32| Feedback {
        mail: SentMail {
            invitation_id: Uuid::parse_str(&invitation.id).unwrap(),
            send_seq: 1,
        },
        kind: FeedbackKind::HardBounce,
        text: "no canary here".to_owned(),
        reply_code: Some(550),
        source: FeedbackSource::Dsn,
        event_id: number.to_string(),
    };
    // A process that has not the key of the tag leaves the list alone: it could not find the entry.
    let newer = world.service_with_keys(crate::features::suppression::KEY_2);
    let outcome = newer.run(RecordFeedback(feedback(1))).await.unwrap();
    assert_eq!(outcome, FeedbackOutcome::Recorded);
    let mut database = world.database().await;
    let count = "SELECT count(*) FROM suppressions";
    let listed: i64 = sqlx::query_scalar(count)
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(listed, 0);
    let outcome = world
        .service
        .run(RecordFeedback(feedback(2)))
        .await
        .unwrap();
    assert_eq!(outcome, FeedbackOutcome::Recorded);
    let answer = world.invite(&[CANARY]).await;
    assert_eq!(
        item_reason(&answer.results[0]),
        ErrorReason::EmailSuppressed
    );
    assert_eq!(places_of(&mut database, "canary").await, BTreeSet::new());
    let delivery = world.get(&invitation.id).await.delivery.unwrap();
    assert_eq!(delivery.state(), DeliveryState::Bounced);
}

#[tokio::test]
async fn a_deleted_user_leaves_an_id_and_nothing_else() {
    let world = World::start().await;
    let emails = ["canary@b.co", "canary@c.co"];
    world.add_user("u-1", "Canary Person", &emails).await;
    world.add_member(ACME, "u-1", "admin").await;
    let request = BulkCreateRequest {
        inviter_user_id: "u-1".to_owned(),
        ..invite_request(&["a@b.co"])
    };
    world.client().bulk_create(request).await.unwrap();
    let mut database = world.database().await;
    assert!(!places_of(&mut database, "canary").await.is_empty());
    let request = DeleteUserRequest {
        user_id: "u-1".to_owned(),
    };
    let answer = world.directory().delete_user(request).await.unwrap();
    let answer = answer.into_inner();
    let counts = (
        answer.revoked_invitation_count,
        answer.deleted_membership_count,
        answer.deleted_email_count,
    );
    assert_eq!(counts, (1, 1, 2));
    assert_eq!(places_of(&mut database, "canary").await, BTreeSet::new());
    let ids = places_of(&mut database, "u-1").await;
    assert_eq!(
        ids,
        BTreeSet::from(
            [
                "audit_events.on_behalf_of_user_id",
                "audit_events.subject_user_id",
                "invitations.inviter_user_id",
            ]
            .map(str::to_owned)
        )
    );
}
