//! Accepting and declining by the id of an invitation: only the owner of the invited address, and everybody else gets the
//! response for an id that does not exist.

use invitations::proto::{
    AcceptPolicy, AcceptRequest, DeclineRequest, InvitationState, NewInvitation, accept_request,
    decline_request,
};
use serde_json::json;
use time::Duration;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::audit::audit_rows_of;
use crate::support::statements::StatementRecorder;
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    ACME, UNKNOWN_ID, World, accept_by_id_request, accept_request, create_request, created,
    decline_by_id_request, field_violations, invite_to_other_request, item_without_email,
    list_request, new_request_id, reason, run_concurrently, status_reason,
};

async fn start_with_issuer() -> (UserIssuer, World) {
    let issuer = UserIssuer::start().await;
    let world = World::builder().issuers(&issuer.table()).start().await;
    (issuer, world)
}

/// Invites an address into ACME without an email. Returns the id of the invitation.
async fn invite(world: &World, item: NewInvitation) -> String {
    let response = world.bulk_create(create_request(vec![item])).await;
    created(&response.results[0]).id
}

async fn invite_address(world: &World, email: &str) -> String {
    invite(world, item_without_email(email)).await
}

fn for_anybody(email: &str) -> NewInvitation {
    NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        ..item_without_email(email)
    }
}

/// A call of a user, who does not name themselves.
fn own_accept_request(id: &str) -> AcceptRequest {
    AcceptRequest {
        target: Some(accept_request::Target::InvitationId(id.to_owned())),
        ..Default::default()
    }
}

fn own_decline_request(id: &str) -> DeclineRequest {
    DeclineRequest {
        target: Some(decline_request::Target::InvitationId(id.to_owned())),
        ..Default::default()
    }
}

fn assert_not_found<T>(answer: Result<T, Status>) {
    let status = answer.err().expect("the call was expected to be refused");
    let refusal = (status.code(), status_reason(&status));
    assert_eq!(refusal, (Code::NotFound, "INVITATION_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_service_accepts_by_id_for_the_owner_of_the_invited_address() {
    let world = World::start().await;
    let id = invite_address(&world, "new@b.co").await;
    let request_id = new_request_id();
    let request = AcceptRequest {
        request_id: request_id.clone(),
        ..accept_by_id_request(&id, "new", "NEW@b.co")
    };
    let rows = audit_rows_of(&world, async {
        let answer = world.client().accept(request.clone()).await.unwrap();
        let answer = answer.into_inner();
        assert!(!answer.already_member);
        assert_eq!(answer.membership.unwrap().invitation_id, id);
        assert!(answer.invitation.unwrap() == world.get(&id).await);
    })
    .await;
    let row = &rows[0];
    assert_eq!(
        (row.action.as_str(), row.outcome.as_str()),
        ("accept", "OK")
    );
    assert_eq!(row.request_id, Uuid::parse_str(&request_id).ok());
    assert_eq!(row.on_behalf_of_user_id.as_deref(), Some("new"));
    let again = world.client().accept(request).await.unwrap().into_inner();
    assert!(again.already_member);

    // An address that only the directory knows is enough.
    world.add_user("known", "Known", &["known@b.co"]).await;
    let id = invite_address(&world, "known@b.co").await;
    let mut request = accept_by_id_request(&id, "known", "");
    request.verified_emails.clear();
    world.client().accept(request).await.unwrap();
}

#[tokio::test]
async fn a_user_accepts_by_id_with_the_address_in_their_token_and_not_one_of_the_directory() {
    let (issuer, world) = start_with_issuer().await;
    world
        .add_user("usr_7", "Somebody", &["directory@example.com"])
        .await;
    let claims = json!({"sub": "usr_7", "email": "token@example.com", "email_verified": true});
    let mut client = world.client_of(&issuer.token_with(&world, &claims));
    let known = invite_address(&world, "directory@example.com").await;
    assert_not_found(client.accept(own_accept_request(&known)).await);
    assert_not_found(client.decline(own_decline_request(&known)).await);
    let own = invite_address(&world, "token@example.com").await;
    let answer = client.accept(own_accept_request(&own)).await.unwrap();
    let membership = answer.into_inner().membership.unwrap();
    assert_eq!(membership.user_id, "usr_7");

    let mut unverified = world.client_of(&issuer.unverified_token(&world, "new"));
    let id = invite_address(&world, "new@example.com").await;
    let answer = unverified.accept(own_accept_request(&id)).await;
    assert_eq!(reason(answer), "EMAIL_UNVERIFIED");
}

#[tokio::test(flavor = "current_thread")]
async fn every_id_that_is_not_for_the_person_gets_the_same_response_from_the_same_statements() {
    let (issuer, mut world) = start_with_issuer().await;
    world.may_leave_mail();
    let request = invite_to_other_request(&["own@example.com"]);
    let response = world.bulk_create(request).await;
    let foreign = created(&response.results[0]).id;
    let mismatch = invite_address(&world, "other@example.com").await;
    let anybody = invite(&world, for_anybody("anybody@example.com")).await;
    let erased = invite_address(&world, "erased@example.com").await;
    world.erase_address("erased@example.com", false).await;
    let service = world.client_of("acme-only");
    let user = world.client_of(&issuer.token(&world, "own"));
    let recorder = StatementRecorder::start();
    let audited = world.count("audit_events").await;
    for (mut client, ids, is_user) in [
        (
            service,
            vec![UNKNOWN_ID, &foreign, &mismatch, &anybody, &erased],
            false,
        ),
        (user, vec![UNKNOWN_ID, &mismatch, &anybody, &erased], true),
    ] {
        let mut seen = Vec::new();
        for id in [&[UNKNOWN_ID], ids.as_slice()].concat() {
            let (accept, decline) = if is_user {
                (own_accept_request(id), own_decline_request(id))
            } else {
                (
                    accept_by_id_request(id, "own", "own@example.com"),
                    decline_by_id_request(id, "own", "own@example.com"),
                )
            };
            let decline = DeclineRequest {
                suppress: true,
                ..decline
            };
            recorder.take();
            let accepted = client.accept(accept).await.err().unwrap();
            let declined = client.decline(decline).await.err().unwrap();
            assert_eq!(status_reason(&accepted), "INVITATION_NOT_FOUND");
            for status in [accepted, declined] {
                seen.push((
                    status.code(),
                    status.message().to_owned(),
                    status.details().to_vec(),
                ));
            }
            let statements = recorder.take();
            let of_store = statements
                .into_iter()
                .filter(|text| text.contains("-- store::"));
            let names = of_store.map(|text| text.lines().next().unwrap().to_owned());
            seen.push((Code::Ok, names.collect::<Vec<_>>().join(" "), Vec::new()));
        }
        assert!(seen[2].1.contains("stored_invitations::rows"));
        assert!(seen.chunks(3).all(|chunk| chunk == &seen[..3]), "{seen:?}");
    }
    assert_eq!(world.count("audit_events").await, audited);
    assert_eq!(world.count("suppressions").await, 0);
    let stored = world.get(&mismatch).await;
    assert_eq!(
        (stored.state(), stored.last_accept_error),
        (InvitationState::Pending, 0)
    );
}

#[tokio::test]
async fn an_any_email_invitation_is_accepted_by_id_only_by_the_invited_person() {
    let (issuer, world) = start_with_issuer().await;
    for caller in ["all", issuer.token(&world, "user").as_str()] {
        let id = invite(&world, for_anybody("user@example.com")).await;
        let request = if caller == "all" {
            assert_not_found(
                world
                    .client()
                    .accept(accept_by_id_request(&id, "stranger", "x@example.com"))
                    .await,
            );
            accept_by_id_request(&id, "person", "user@example.com")
        } else {
            let mut stranger = world.client_of(&issuer.token(&world, "stranger"));
            assert_not_found(stranger.accept(own_accept_request(&id)).await);
            own_accept_request(&id)
        };
        world.client_of(caller).accept(request).await.unwrap();
        world
            .execute("DELETE FROM memberships WHERE user_id IN ('person', 'user')")
            .await;
    }
}

#[tokio::test]
async fn of_concurrent_calls_by_token_and_by_id_one_creates_the_membership() {
    let world = World::start().await;
    let token = world.create_with_link(for_anybody("own@b.co")).await;
    let list = world.list(list_request()).await;
    let id = list.invitations[0].id.clone();
    let calls = (0..32).map(|number| {
        let mut client = world.client();
        let request = if number % 2 == 0 {
            accept_by_id_request(&id, "own", "own@b.co")
        } else {
            accept_request(&token, &format!("user{}", number % 4), "x@b.co")
        };
        async move { client.accept(request).await }
    });
    let answers = run_concurrently(calls).await;
    let mut creators = 0;
    for answer in answers {
        match answer {
            Ok(answer) => creators += u32::from(!answer.into_inner().already_member),
            Err(status) => assert_eq!(status_reason(&status), "ALREADY_ACCEPTED"),
        }
    }
    assert_eq!(creators, 1);
    assert_eq!(world.memberships(ACME).await.len(), 3);
    assert_eq!(world.get(&id).await.state(), InvitationState::Accepted);
}

#[tokio::test]
async fn failed_attempts_by_id_count_for_the_limit_of_the_user() {
    let world = World::start().await;
    let id = invite_address(&world, "a@b.co").await;
    let accept = async |id: &str, email: &str| {
        let request = accept_by_id_request(id, "mallory", email);
        world.client().accept(request).await
    };
    for number in 0..20 {
        let target = if number % 2 == 0 { UNKNOWN_ID } else { &id };
        assert_not_found(accept(target, "m@b.co").await);
    }
    assert_eq!(reason(accept(&id, "a@b.co").await), "RATE_LIMITED");
    world.clock.advance(Duration::minutes(1));
    accept(&id, "a@b.co").await.unwrap();
}

#[tokio::test]
async fn an_invitation_that_has_ended_is_refused_by_id_as_by_token() {
    let world = World::start().await;
    let accept = async |id: &str, user_id: &str, email: &str| {
        let request = accept_by_id_request(id, user_id, email);
        world.client().accept(request).await
    };
    let revoked = invite_address(&world, "revoked@b.co").await;
    world.revoke(&revoked).await;
    let accepted = invite_address(&world, "accepted@b.co").await;
    accept(&accepted, "first", "accepted@b.co").await.unwrap();
    let declined = invite_address(&world, "declined@b.co").await;
    let request = decline_by_id_request(&declined, "second", "declined@b.co");
    world.client().decline(request).await.unwrap();
    let withdrawn = invite(
        &world,
        NewInvitation {
            role: "admin".to_owned(),
            ..item_without_email("withdrawn@b.co")
        },
    )
    .await;
    world
        .execute("UPDATE invitations SET role = 'gone' WHERE email = 'withdrawn@b.co'")
        .await;
    let rows = audit_rows_of(&world, async {
        let answer = accept(&withdrawn, "second", "withdrawn@b.co").await;
        assert_eq!(reason(answer), "ROLE_WITHDRAWN");
    })
    .await;
    assert_eq!(rows[0].outcome, "ROLE_WITHDRAWN");
    let stored = world.get(&withdrawn).await;
    let shown = stored.last_accept_error().as_str_name();
    assert_eq!(shown, "ERROR_REASON_ROLE_WITHDRAWN");
    let expired = invite_address(&world, "expired@b.co").await;
    world.clock.advance(Duration::days(30));
    for (id, email, expected) in [
        (&revoked, "revoked@b.co", "INVITATION_REVOKED"),
        (&accepted, "accepted@b.co", "ALREADY_ACCEPTED"),
        (&declined, "declined@b.co", "INVITATION_DECLINED"),
        (&expired, "expired@b.co", "INVITATION_EXPIRED"),
    ] {
        assert_eq!(reason(accept(id, "second", email).await), expected);
        assert_not_found(accept(id, "second", "x@b.co").await);
    }
}

#[tokio::test]
async fn a_suspended_or_deleted_organization_is_named_only_to_the_invited_person() {
    let world = World::start().await;
    let id = invite_address(&world, "a@b.co").await;
    let suspended = "UPDATE organizations SET suspended_at = now() WHERE id = 'acme'";
    world.execute(suspended).await;
    let accept = async |email: &str| {
        let request = accept_by_id_request(&id, "new", email);
        world.client().accept(request).await
    };
    assert_eq!(reason(accept("a@b.co").await), "ORGANIZATION_SUSPENDED");
    assert_not_found(accept("x@b.co").await);
}

#[tokio::test]
async fn a_limited_service_adds_no_address_to_the_directory_by_an_id() {
    let world = World::start().await;
    let mut client = world.client_of("acme-only");
    let id = invite_address(&world, "a@b.co").await;
    let request = accept_by_id_request(&id, "new", "a@b.co");
    client.accept(request).await.unwrap();
    let of_user = "user_emails WHERE user_id = 'new'";
    assert_eq!(world.count(of_user).await, 0);
    // A service that may act for every organization decides whose an address is.
    let id = invite_address(&world, "b@b.co").await;
    let request = accept_by_id_request(&id, "newer", "b@b.co");
    world.client().accept(request).await.unwrap();
    assert_eq!(world.count("user_emails WHERE user_id = 'newer'").await, 1);
}

#[tokio::test]
async fn the_invited_person_declines_by_id_and_may_suppress_the_address() {
    let (issuer, world) = start_with_issuer().await;
    let id = invite_address(&world, "user@example.com").await;
    let mut client = world.client_of(&issuer.token(&world, "user"));
    let suppress = DeclineRequest {
        suppress: true,
        ..own_decline_request(&id)
    };
    let answer = client.decline(suppress.clone()).await.unwrap();
    let declined = answer.into_inner().invitation.unwrap();
    assert_eq!(declined.state(), InvitationState::Declined);
    assert_eq!(declined.email, "user@example.com");
    assert_eq!(world.count("suppressions").await, 1);
    client.decline(suppress).await.unwrap();

    let id = invite_address(&world, "b@b.co").await;
    let request_id = new_request_id();
    let request = DeclineRequest {
        request_id: request_id.clone(),
        ..decline_by_id_request(&id, "new", "b@b.co")
    };
    let rows = audit_rows_of(&world, async {
        world.client().decline(request).await.unwrap();
    })
    .await;
    assert_eq!(rows[0].action, "decline");
    assert_eq!(rows[0].on_behalf_of_user_id.as_deref(), Some("new"));
    assert_eq!(rows[0].request_id, Uuid::parse_str(&request_id).ok());
}

#[tokio::test]
async fn a_call_without_a_valid_target_names_the_field() {
    let (issuer, world) = start_with_issuer().await;
    let service = world.client();
    let user = world.client_of(&issuer.token(&world, "user"));
    let bad_id = "not-a-uuid";
    for (mut client, is_user) in [(service, false), (user, true)] {
        let (accept, decline) = if is_user {
            (own_accept_request(bad_id), own_decline_request(bad_id))
        } else {
            (
                accept_by_id_request(bad_id, "new", "a@b.co"),
                decline_by_id_request(bad_id, "new", "a@b.co"),
            )
        };
        let no_target = (
            AcceptRequest {
                target: None,
                ..accept.clone()
            },
            DeclineRequest {
                target: None,
                ..decline.clone()
            },
        );
        for ((accept, decline), expected) in [
            (no_target, ("target", "FIELD_REQUIRED")),
            ((accept, decline), ("invitation_id", "FIELD_INVALID")),
        ] {
            let expected = [(expected.0.to_owned(), expected.1.to_owned())];
            let refused = client.accept(accept).await.err().unwrap();
            assert_eq!(field_violations(&refused), expected);
            let refused = client.decline(decline).await.err().unwrap();
            assert_eq!(field_violations(&refused), expected);
        }
    }
    let nobody = decline_by_id_request(UNKNOWN_ID, "", "a@b.co");
    let refused = world.client().decline(nobody).await.err().unwrap();
    let expected = [("user_id".to_owned(), "FIELD_REQUIRED".to_owned())];
    assert_eq!(field_violations(&refused), expected);
    let malformed = AcceptRequest {
        request_id: "7".to_owned(),
        ..accept_by_id_request(UNKNOWN_ID, "new", "a@b.co")
    };
    let refused = world.client().accept(malformed).await.err().unwrap();
    let expected = [("request_id".to_owned(), "REQUEST_ID_INVALID".to_owned())];
    assert_eq!(field_violations(&refused), expected);
}
