//! Erasing an address and deleting a user: what is removed, what remains, and what concurrent calls see.

mod concurrent;
mod preview;

use std::collections::BTreeSet;

use invitations::proto::{
    BulkCreateRequest, DeclineRequest, DeleteUserRequest, EraseAddressRequest,
    EraseAddressResponse, ErrorReason, InvitationState, ListRequest, ListSuppressionsRequest,
    NewInvitation,
};
use sqlx::AssertSqlSafe;
use time::Duration;
use uuid::Uuid;

use crate::support::relay::SmtpStep;
use crate::support::{
    ACME, OTHER, World, bulk_resend_request, create_request, created, decline_request,
    field_violations, invite_request, item, item_reason, list_request, metadata, new_request_id,
    preview_request, reason, requeue_request, resend_request,
};

/// The address that is erased. The tests search for it in lower case.
const CANARY: &str = "Canary.Person@Example.COM";

/// The counts of a response in the order of its fields, and whether the address is newly suppressed.
type ErasureCounts = ([i64; 5], bool);

/// The counts of an erasure that found nothing.
const NOTHING: ErasureCounts = ([0; 5], false);

fn counts(answer: &EraseAddressResponse) -> ErasureCounts {
    let counts = [
        answer.erased_invitation_count,
        answer.revoked_invitation_count,
        answer.canceled_message_count,
        answer.erased_user_count,
        answer.nameless_user_count,
    ];
    (counts, answer.newly_suppressed)
}

/// An item with a text in every field that can be about a person.
fn personal_item(email: &str) -> NewInvitation {
    let metadata = metadata("who", "canary metadata");
    NewInvitation {
        message: "the canary note".to_owned(),
        redirect_url: "https://app.example.com/canary".to_owned(),
        public_metadata: Some(metadata.clone()),
        private_metadata: Some(metadata),
        ..item(email)
    }
}

/// Invites into an organization with a personal item. Returns the id of the invitation.
async fn invite(world: &World, organization_id: &str, inviter: &str, email: &str) -> String {
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        organization_id: organization_id.to_owned(),
        inviter_user_id: inviter.to_owned(),
        ..create_request(vec![personal_item(email)])
    };
    created(&world.bulk_create(request).await.results[0]).id
}

/// The columns that contain a word, in any case, among all columns that can contain text.
async fn places_of(world: &World, word: &str) -> BTreeSet<String> {
    let mut database = world.database().await;
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
          WHERE table_schema = 'public' AND data_type NOT IN ('boolean', 'timestamp with time zone')",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    assert!(columns.len() > 70, "{}", columns.len());
    let mut found = BTreeSet::new();
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
            .fetch_one(&mut database)
            .await
            .unwrap();
        if is_there {
            found.insert(format!("{table}.{column}"));
        }
    }
    found
}

async fn state_of(world: &World, id: &str) -> (InvitationState, String) {
    let invitation = world.get(id).await;
    (invitation.state(), invitation.email)
}

async fn decline_and_suppress(world: &World, token: &str) {
    let request = DeclineRequest {
        suppress: true,
        ..decline_request(token)
    };
    world.client().decline(request).await.unwrap();
}

#[tokio::test]
async fn no_table_contains_an_erased_address() {
    let mut world = World::start().await;
    // The address in every place: in a reply of the relay, and in accepted, declined and pending invitations.
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "451 4.7.1 the canary is busy");
    let accepted = invite(&world, ACME, "ada", CANARY).await;
    world.deliver_all().await;
    let delivery = world.delivery(&accepted).await;
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
    decline_and_suppress(&world, &other_token).await;
    world.execute("DELETE FROM suppressions").await;
    let pending = invite(&world, OTHER, "eve", CANARY).await;

    let before = places_of(&world, "canary").await;
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

    let erased = world.erase_address(&CANARY.to_lowercase(), true).await;
    assert_eq!(counts(&erased), ([3, 1, 1, 1, 1], true));
    assert_eq!(places_of(&world, "canary").await, BTreeSet::new());
    let empty = String::new;
    assert_eq!(
        state_of(&world, &accepted).await,
        (InvitationState::Accepted, empty())
    );
    let states: Vec<(Uuid, String, String)> =
        sqlx::query_as("SELECT id, state, delivery_state FROM invitations WHERE organization_id = 'other' ORDER BY id")
            .fetch_all(&mut world.database().await)
            .await
            .unwrap();
    let shown: Vec<_> = states
        .iter()
        .map(|(id, state, delivery)| (id.to_string(), state.as_str(), delivery.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (declined, "declined", "sent"),
            (pending, "revoked", "canceled")
        ]
    );
    // A repeated erasure finds nothing.
    assert_eq!(counts(&world.erase_address(CANARY, true).await), NOTHING);
    // The membership remains.
    let role: String = sqlx::query_scalar("SELECT role FROM memberships WHERE user_id = 'u-1'")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(role, "member");
}

#[tokio::test]
async fn a_user_with_another_address_keeps_the_name_and_other_addresses_are_unaffected() {
    let mut world = World::start().await;
    world
        .add_user("u-1", "Two Addresses", &["one@b.co", "two@b.co"])
        .await;
    world.add_user("u-2", "Shares One", &["one@b.co"]).await;
    let results = world.invite(&["one@b.co", "one@b.com", "two@b.co"]).await;
    let ids: Vec<_> = results.results.iter().map(|it| created(it).id).collect();
    let erased = world.erase_address("ONE@b.co", false).await;
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
    // Without suppression, the address can be invited again.
    created(&world.invite(&["one@b.co"]).await.results[0]);
    world.deliver_all().await;
}

#[tokio::test]
async fn an_erased_invitation_is_found_by_its_address_and_cannot_be_accepted_or_resent() {
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
        world
            .erase_address("a@b.co", false)
            .await
            .erased_invitation_count,
        2
    );

    let list = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some("A@b.co".to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let found = world.list(list).await;
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
    let preview = preview_request(&token);
    let answer = world.client().preview(preview).await;
    assert_eq!(reason(answer), "TOKEN_INVALID");
    let answer = world.accept(&token, "u-1", "a@b.co").await;
    assert_eq!(reason(answer), "TOKEN_INVALID");
    let resend = resend_request(&refused);
    let answer = world.client().resend(resend).await;
    assert_eq!(reason(answer), "ADDRESS_ERASED");
    let resend = bulk_resend_request(&[&refused, &pending.id]);
    let answer = world.client().bulk_resend(resend).await.unwrap();
    let answer = answer.into_inner();
    let reasons: Vec<_> = answer
        .results
        .iter()
        .map(|it| it.error.as_ref().unwrap().reason())
        .collect();
    assert_eq!(
        reasons,
        [ErrorReason::AddressErased, ErrorReason::InvitationRevoked]
    );
    let requeue = requeue_request(&[refused]);
    let answer = world.mails().requeue_messages(requeue).await.unwrap();
    let error = answer.into_inner().results.remove(0).error.unwrap();
    assert_eq!(error.reason(), ErrorReason::InvitationExpired);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_call_repeated_after_the_erasure_returns_no_address() {
    let mut world = World::start().await;
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..create_request(vec![personal_item("a@b.co"), item("c@b.co")])
    };
    let first = world.bulk_create(request.clone()).await;
    world.erase_address("a@b.co", false).await;
    let again = world.bulk_create(request).await;
    assert_eq!(first.batch_id, again.batch_id);
    assert_eq!(again.succeeded_count, 2);
    let erased = again.results[0].invitation.clone().unwrap();
    assert_eq!((erased.email, erased.message), Default::default());
    assert!(first.results[1] == again.results[1]);
    world.deliver_all().await;
}

#[tokio::test]
async fn an_erased_and_suppressed_address_cannot_be_invited() {
    let world = World::start().await;
    assert!(world.erase_address(CANARY, true).await.newly_suppressed);
    assert!(!world.erase_address(CANARY, true).await.newly_suppressed);
    let answer = world.invite(&[CANARY]).await;
    assert_eq!(
        item_reason(&answer.results[0]),
        ErrorReason::EmailSuppressed
    );
    let request = ListSuppressionsRequest {
        email: CANARY.to_owned(),
        ..Default::default()
    };
    let found = world
        .suppressions()
        .list_suppressions(request)
        .await
        .unwrap();
    assert_eq!(found.into_inner().suppressions.len(), 1);
}

#[tokio::test]
async fn an_invalid_address_is_refused_as_a_field_violation() {
    let world = World::start().await;
    for (email, expected) in [
        ("", "FIELD_REQUIRED"),
        ("nobody", "EMAIL_INVALID"),
        ("\u{e9}@b.co", "EMAIL_UNSUPPORTED"),
    ] {
        let request = EraseAddressRequest {
            email: email.to_owned(),
            suppress: true,
            ..Default::default()
        };
        let answer = world.directory().erase_address(request).await;
        let status = answer.err().unwrap();
        let violation = ("email".to_owned(), expected.to_owned());
        assert_eq!(field_violations(&status)[0], violation);
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
    let erased = world.erase_address("a@b.co", false).await;
    assert_eq!(
        (
            erased.erased_invitation_count,
            erased.revoked_invitation_count
        ),
        (1_201, 0)
    );
    assert_eq!(places_of(&world, "a@b.co").await, BTreeSet::new());
}

#[tokio::test]
async fn only_the_id_of_a_deleted_user_remains() {
    let world = World::start().await;
    let emails = ["canary@b.co", "canary@c.co"];
    world.add_user("u-1", "Canary Person", &emails).await;
    world.add_member(ACME, "u-1", "admin").await;
    let request = BulkCreateRequest {
        inviter_user_id: "u-1".to_owned(),
        ..invite_request(&["a@b.co"])
    };
    world.bulk_create(request).await;
    assert!(!places_of(&world, "canary").await.is_empty());
    let request = DeleteUserRequest {
        user_id: "u-1".to_owned(),
        ..Default::default()
    };
    let answer = world.directory().delete_user(request).await.unwrap();
    let answer = answer.into_inner();
    let counts = (
        answer.revoked_invitation_count,
        answer.deleted_membership_count,
        answer.deleted_email_count,
    );
    assert_eq!(counts, (1, 1, 2));
    assert_eq!(places_of(&world, "canary").await, BTreeSet::new());
    let ids = places_of(&world, "u-1").await;
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
