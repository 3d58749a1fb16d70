//! What the audit log records of accepts and inviters, what it does not record, and that no statement changes it.

use invitations::proto::{BulkCreateRequest, BulkResendRequest, DeclineRequest};
use invitations::store::Connection;
use invitations::store::audit_events;
use sqlx::Executor as _;
use time::Duration;

use crate::support::audit::{audit_rows, audit_rows_of};
use crate::support::{
    START, World, accept_request, bulk_resend_request, created, decline_request, invite_request,
    new_request_id, reason, revoke_request,
};

#[tokio::test]
async fn refused_calls_dry_runs_and_repeated_calls_write_no_event() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let (invitation, token) = world.invite_one("a@b.co").await;
    let once = BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&["c@b.co"])
    };
    let resend_once = BulkResendRequest {
        request_id: new_request_id(),
        ..bulk_resend_request(&[&invitation.id])
    };
    let mut client = world.client();
    let second = created(&world.bulk_create(once.clone()).await.results[0]);
    client.bulk_resend(resend_once.clone()).await.unwrap();
    client.revoke(revoke_request(&second.id)).await.unwrap();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let written = audit_rows_of(&world, async {
        // Dry runs.
        let dry = BulkCreateRequest {
            validate_only: true,
            ..invite_request(&["d@b.co"])
        };
        client.bulk_create(dry).await.unwrap();
        let dry = BulkResendRequest {
            validate_only: true,
            request_id: String::new(),
            ..resend_once.clone()
        };
        client.bulk_resend(dry).await.unwrap();
        // Repeated calls, and calls that change nothing.
        client.bulk_create(once).await.unwrap();
        client.bulk_resend(resend_once).await.unwrap();
        client.revoke(revoke_request(&second.id)).await.unwrap();
        world.accept(&token, "new", "a@b.co").await.unwrap();
        // Callers without permission.
        let request = || invite_request(&["e@b.co"]);
        for caller in ["nobody", "other-only", "all-but-invitations:write"] {
            let answer = world.client_of(caller).bulk_create(request()).await;
            answer.err().unwrap();
        }
        // Calls that were rolled back.
        let atomic = BulkCreateRequest {
            atomic: true,
            ..invite_request(&["f@b.co", "broken"])
        };
        assert_eq!(reason(client.bulk_create(atomic).await), "ITEMS_FAILED");
        let answer = client.revoke(revoke_request(&invitation.id)).await;
        assert_eq!(reason(answer), "ALREADY_ACCEPTED");
        let decline = DeclineRequest {
            suppress: true,
            ..decline_request(&token)
        };
        assert_eq!(reason(client.decline(decline).await), "ALREADY_ACCEPTED");
        // Invalid tokens. All bits of the last character count, so another character is another token.
        let other = if token.ends_with('A') { 'B' } else { 'A' };
        let guess = accept_request(&format!("{}{other}", &token[..71]), "x", "a@b.co");
        client.accept(guess).await.err().unwrap();
        let foreign = accept_request(&token, "x", "a@b.co");
        let answer = world.client_of("other-only").accept(foreign).await;
        assert_eq!(reason(answer), "TOKEN_INVALID");
        // Expiry.
        world.clock.advance(Duration::days(400));
        world.service.sweep().await.unwrap();
    })
    .await;
    assert_eq!(written, []);
}

#[tokio::test]
async fn a_refused_accept_writes_an_event_with_its_reason() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let (late, late_token) = world.invite_one("late@b.co").await;
    let expired = Duration::days(400);
    let attempts = audit_rows_of(&world, async {
        let answer = world.accept(&token, "thief", "thief@b.co").await;
        assert_eq!(reason(answer), "EMAIL_MISMATCH");
        world.accept(&token, "new", "a@b.co").await.unwrap();
        let answer = world.accept(&token, "thief", "a@b.co").await;
        assert_eq!(reason(answer), "ALREADY_ACCEPTED");
        world.clock.advance(expired);
        let answer = world.accept(&late_token, "late", "late@b.co").await;
        assert_eq!(reason(answer), "INVITATION_EXPIRED");
        world.delete_organization().await;
        let answer = world.accept(&token, "thief", "a@b.co").await;
        assert_eq!(reason(answer), "ORGANIZATION_DELETED");
    })
    .await;
    let recorded: Vec<_> = attempts
        .iter()
        .filter(|row| row.action == "accept")
        .map(|row| {
            let user_id = row.subject_user_id.clone().unwrap();
            assert_eq!(row.on_behalf_of_user_id.as_ref(), Some(&user_id));
            let id = row.invitation_id.unwrap().to_string();
            (row.outcome.as_str(), user_id, id)
        })
        .collect();
    let expected = [
        ("EMAIL_MISMATCH", "thief", &invitation.id),
        ("OK", "new", &invitation.id),
        ("ALREADY_ACCEPTED", "thief", &invitation.id),
        ("INVITATION_EXPIRED", "late", &late.id),
        ("ORGANIZATION_DELETED", "thief", &invitation.id),
    ]
    .map(|(outcome, user_id, id)| (outcome, user_id.to_owned(), id.clone()));
    assert_eq!(recorded, expected);
}

#[tokio::test]
async fn of_concurrent_accepts_exactly_one_is_recorded_as_ok() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let attempts = audit_rows_of(&world, async {
        let calls = (0..16).map(|number| {
            let (world, token) = (&world, token.clone());
            async move {
                let user_id = format!("user{number}");
                world.accept(&token, &user_id, "a@b.co").await.is_ok()
            }
        });
        let won = futures::future::join_all(calls).await;
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
    })
    .await;
    let outcomes = |wanted: &str| attempts.iter().filter(|row| row.outcome == wanted).count();
    assert_eq!((outcomes("OK"), outcomes("ALREADY_ACCEPTED")), (1, 15));
}

#[tokio::test]
async fn an_event_names_only_inviters_that_the_directory_knows() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let behalf = async |inviter: &str, of_item: &str| {
        let mut request = invite_request(&["a@b.co", "c@b.co"]);
        inviter.clone_into(&mut request.inviter_user_id);
        of_item.clone_into(&mut request.invitations[0].inviter_user_id);
        let rows = audit_rows_of(&world, async {
            world.bulk_create(request).await;
        })
        .await;
        assert_eq!(rows.len(), 1);
        rows[0].on_behalf_of_user_id.clone()
    };
    assert_eq!(behalf("someone@example.com", "").await, None);
    assert_eq!(behalf("", "ada").await.as_deref(), Some("ada"));
    assert_eq!(behalf("ada", "grace").await.as_deref(), Some("ada"));
    assert_eq!(behalf("what@b.co", "ada").await.as_deref(), Some("ada"));
}

#[tokio::test]
async fn no_statement_changes_an_event_and_only_the_purge_deletes_events() {
    let world = World::start().await;
    let mut database = world.database().await;
    let before = audit_rows(&world).await;
    for statement in [
        "UPDATE audit_events SET caller = 'nobody'",
        "UPDATE audit_events SET counts = '{}' WHERE organization_id = 'acme'",
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE organization_id = 'acme'",
        "TRUNCATE audit_events",
        // The setting that permits deletions permits nothing else.
        "SET invitations.audit_retention = 'on'; UPDATE audit_events SET caller = 'nobody'",
        "SET invitations.audit_retention = 'on'; TRUNCATE audit_events",
        // The columns do not accept free text.
        "INSERT INTO audit_events (id, created_at, organization_id, action, outcome, caller, counts)
         VALUES (gen_random_uuid(), now(), '', 'accept', 'OK', 'x', '{\"note\": \"a@b.co\"}')",
        "INSERT INTO audit_events (id, created_at, organization_id, action, outcome, caller, counts)
         VALUES (gen_random_uuid(), now(), '', 'accept', 'a@b.co', 'x', '{}')",
    ] {
        let error = database.execute(statement).await.err().unwrap();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert!(["23001", "23514"].contains(&code.as_str()), "{statement}: {error}");
        database.execute("RESET invitations.audit_retention").await.unwrap();
    }
    assert_eq!(audit_rows(&world).await, before);

    world.clock.advance(Duration::DAY);
    world.add_user("late", "Late", &[]).await;
    let until = START + Duration::DAY;
    let due = i64::try_from(before.len()).unwrap();
    // Deletes the oldest first, up to the limit, and no event after the time.
    let oldest = audit_events::purge(&mut Connection::new(&mut database), until, 2)
        .await
        .unwrap();
    let left = audit_rows(&world).await;
    assert_eq!((oldest.count, &left[..left.len() - 1]), (2, &before[2..]));
    assert_eq!(oldest.oldest, Some(before[0].created_at));
    let rest = audit_events::purge(&mut Connection::new(&mut database), until, 1_000)
        .await
        .unwrap();
    assert_eq!((rest.count, audit_rows(&world).await.len()), (due - 2, 1));
    assert_eq!(
        audit_events::purge(&mut Connection::new(&mut database), until, 1_000)
            .await
            .unwrap()
            .count,
        0
    );
    // Deletions are refused again.
    let error = database.execute("DELETE FROM audit_events").await;
    error.unwrap_err();
    assert_eq!(audit_rows(&world).await.len(), 1);
}
