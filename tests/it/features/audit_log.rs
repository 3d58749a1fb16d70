//! The audit log as it is kept and read: what is not in it, who sees what, pages, and that nothing changes it.

use invitations::proto::{
    AuditAction, AuditEvent, AuditServiceListRequest, BulkCreateRequest, BulkResendRequest,
    DeclineRequest, DeleteOrganizationRequest, ErrorReason, Organization, RevokeRequest,
    UpsertOrganizationsRequest,
};
use invitations::store;
use invitations::store::Connection;
use invitations::store::audit_events::{self, AuditFilter};
use prost_types::Timestamp;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use time::{Duration, OffsetDateTime};
use tonic::Code;
use uuid::Uuid;

use crate::features::audit::{list_as, rows, written};
use crate::support::programs::run_client;
use crate::support::{ACME, OTHER, START, World, accept_request, created, invite_request, reason};

/// Every event that a request asks for, page by page.
async fn list(world: &World, request: AuditServiceListRequest) -> Vec<AuditEvent> {
    let mut request = AuditServiceListRequest {
        page_size: 3,
        ..request
    };
    let mut events = Vec::new();
    loop {
        let page = list_as(world, "all", request.clone()).await.unwrap();
        assert!(page.events.len() <= 3);
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

fn of(organization_id: &str) -> AuditServiceListRequest {
    AuditServiceListRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    }
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: 0,
    }
}

#[tokio::test]
async fn what_is_refused_tried_dry_or_repeated_writes_nothing() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let (invitation, token) = world.invite_one("a@b.co").await;
    let once = BulkCreateRequest {
        request_id: Uuid::new_v4().to_string(),
        ..invite_request(&["c@b.co"])
    };
    let resend_once = BulkResendRequest {
        request_id: Uuid::new_v4().to_string(),
        organization_id: ACME.to_owned(),
        invitation_ids: vec![invitation.id.clone()],
        ..Default::default()
    };
    let revoke = |id: &str| RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id.to_owned(),
        user_id: String::new(),
    };
    let mut client = world.client();
    let second = created(
        &client
            .bulk_create(once.clone())
            .await
            .unwrap()
            .into_inner()
            .results[0],
    );
    client.bulk_resend(resend_once.clone()).await.unwrap();
    client.revoke(revoke(&second.id)).await.unwrap();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let nothing = written(&world, async {
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
        // Repetitions, and what was so before.
        client.bulk_create(once).await.unwrap();
        client.bulk_resend(resend_once).await.unwrap();
        client.revoke(revoke(&second.id)).await.unwrap();
        world.accept(&token, "new", "a@b.co").await.unwrap();
        // Callers that may not.
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
        let answer = client.revoke(revoke(&invitation.id)).await;
        assert_eq!(reason(answer), "ALREADY_ACCEPTED");
        let suppress = true;
        let decline = DeclineRequest {
            token: token.clone(),
            suppress,
        };
        assert_eq!(reason(client.decline(decline).await), "ALREADY_ACCEPTED");
        // Tokens that open nothing.
        // The last character carries all of its bits, so another one is another token.
        let other = if token.ends_with('A') { 'B' } else { 'A' };
        let guess = accept_request(&format!("{}{other}", &token[..71]), "x", "a@b.co");
        client.accept(guess).await.err().unwrap();
        let foreign = accept_request(&token, "x", "a@b.co");
        let answer = world.client_of("other-only").accept(foreign).await;
        assert_eq!(reason(answer), "TOKEN_INVALID");
        // What time brings about.
        world.clock.advance(Duration::days(400));
        world.service.sweep().await.unwrap();
    })
    .await;
    assert_eq!(nothing, []);
}

#[tokio::test]
async fn a_refused_attempt_to_accept_is_written_down_with_its_reason() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let (late, late_token) = world.invite_one("late@b.co").await;
    let expired = Duration::days(400);
    let attempts = written(&world, async {
        let answer = world.accept(&token, "thief", "thief@b.co").await;
        assert_eq!(reason(answer), "EMAIL_MISMATCH");
        world.accept(&token, "new", "a@b.co").await.unwrap();
        let answer = world.accept(&token, "thief", "a@b.co").await;
        assert_eq!(reason(answer), "ALREADY_ACCEPTED");
        world.clock.advance(expired);
        let answer = world.accept(&late_token, "late", "late@b.co").await;
        assert_eq!(reason(answer), "EXPIRED");
        let organization_id = ACME.to_owned();
        let request = DeleteOrganizationRequest { organization_id };
        world
            .directory()
            .delete_organization(request)
            .await
            .unwrap();
        let answer = world.accept(&token, "thief", "a@b.co").await;
        assert_eq!(reason(answer), "ORGANIZATION_INACTIVE");
    })
    .await;
    let told: Vec<_> = attempts
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
        ("EXPIRED", "late", &late.id),
        ("ORGANIZATION_INACTIVE", "thief", &invitation.id),
    ]
    .map(|(outcome, user_id, id)| (outcome, user_id.to_owned(), id.clone()));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn of_many_that_accept_at_once_one_is_written_down_as_having_won() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let attempts = written(&world, async {
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
async fn an_inviter_is_named_only_if_the_directory_knows_them() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let behalf = async |inviter: &str, of_item: &str| {
        let mut request = invite_request(&["a@b.co", "c@b.co"]);
        inviter.clone_into(&mut request.inviter_user_id);
        of_item.clone_into(&mut request.invitations[0].inviter_user_id);
        let rows = written(&world, async {
            world.client().bulk_create(request).await.unwrap();
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
async fn pages_show_each_event_once_newest_first_and_filters_narrow_them() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::HOUR);
    world.accept(&token, "thief", "x@b.co").await.err().unwrap();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    world.clock.advance(Duration::HOUR);
    let mut client = world.client_of("acme-only");
    client
        .bulk_create(invite_request(&["c@b.co"]))
        .await
        .unwrap();
    let all = rows(&world).await;
    let ids: Vec<String> = all.iter().rev().map(|row| row.id.to_string()).collect();
    let shown = list(&world, AuditServiceListRequest::default()).await;
    let shown: Vec<_> = shown.into_iter().map(|event| event.id).collect();
    assert_eq!(shown, ids);

    let acme = all.iter().filter(|row| row.organization_id == ACME).count();
    let about = |id: &str| AuditServiceListRequest {
        invitation_id: id.to_owned(),
        ..of("")
    };
    let by = |caller: &str| AuditServiceListRequest {
        caller: caller.to_owned(),
        ..of(ACME)
    };
    let for_user = |user_id: &str| AuditServiceListRequest {
        user_id: user_id.to_owned(),
        ..of(ACME)
    };
    let doing = |action: AuditAction| AuditServiceListRequest {
        action: action.into(),
        ..of("")
    };
    let made = |batch_id: &str| AuditServiceListRequest {
        batch_id: batch_id.to_owned(),
        ..of(ACME)
    };
    let within = |hours: std::ops::Range<i64>| AuditServiceListRequest {
        start_time: Some(timestamp(START + Duration::hours(hours.start))),
        end_time: Some(timestamp(START + Duration::hours(hours.end))),
        ..of(ACME)
    };
    for (number, (request, expected)) in [
        (of(ACME), acme),
        (of(OTHER), 2),
        (about(&invitation.id), 2),
        (
            AuditServiceListRequest {
                invitation_id: invitation.id.clone(),
                ..of(OTHER)
            },
            0,
        ),
        (by("acme-only"), 1),
        (by("all"), acme - 1),
        (by("nobody"), 0),
        (for_user("thief"), 1),
        // Their membership, and both batches.
        (for_user("ada"), 3),
        (doing(AuditAction::Accept), 2),
        (doing(AuditAction::UpsertUsers), 3),
        (made(&invitation.batch_id), 1),
        (made(&invitation.id), 0),
        (within(1..2), 2),
        (within(0..1), acme - 3),
        (within(0..3), acme),
        (within(5..6), 0),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(list(&world, request).await.len(), expected, "{number}");
    }
    let [refused] = list(&world, for_user("thief"))
        .await
        .try_into()
        .ok()
        .unwrap();
    assert_eq!(refused.refusal(), ErrorReason::EmailMismatch);
    assert!(refused.refusal.is_some() && refused.action() == AuditAction::Accept);
    assert_eq!(refused.create_time, Some(timestamp(START + Duration::HOUR)));
}

#[tokio::test]
async fn a_page_token_and_a_malformed_filter_are_refused() {
    let world = World::start().await;
    let first = AuditServiceListRequest {
        page_size: 1,
        ..of(ACME)
    };
    let page = list_as(&world, "all", first.clone()).await.unwrap();
    let next = AuditServiceListRequest {
        page_token: page.next_page_token,
        ..first
    };
    let wrong = |change: &dyn Fn(&mut AuditServiceListRequest)| {
        let mut request = next.clone();
        change(&mut request);
        request
    };
    let malformed = |change: &dyn Fn(&mut AuditServiceListRequest)| {
        let mut request = of(ACME);
        change(&mut request);
        request
    };
    for (request, expected) in [
        (wrong(&|it| it.caller = "all".into()), "PAGE_TOKEN_INVALID"),
        (
            wrong(&|it| it.organization_id = OTHER.into()),
            "PAGE_TOKEN_INVALID",
        ),
        (
            wrong(&|it| it.page_token = "x".into()),
            "PAGE_TOKEN_INVALID",
        ),
        (malformed(&|it| it.page_size = -1), "FIELD_INVALID"),
        (malformed(&|it| it.action = 99), "FIELD_INVALID"),
        (malformed(&|it| it.caller = "\0".into()), "FIELD_INVALID"),
        (malformed(&|it| it.user_id = "a b".into()), "FIELD_INVALID"),
        (
            malformed(&|it| it.invitation_id = "x".into()),
            "FIELD_INVALID",
        ),
        (malformed(&|it| it.batch_id = "x".into()), "FIELD_INVALID"),
        (
            malformed(&|it| {
                it.end_time = Some(Timestamp {
                    seconds: i64::MAX,
                    nanos: 0,
                });
            }),
            "FIELD_INVALID",
        ),
    ] {
        let status = list_as(&world, "all", request).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(Err::<(), _>(status)), expected);
    }
}

#[tokio::test]
async fn a_limited_caller_sees_its_own_organizations_alone() {
    let world = World::start().await;
    for organization_id in ["", OTHER, "unknown"] {
        let answer = list_as(&world, "acme-only", of(organization_id)).await;
        assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    }
    let page = list_as(&world, "acme-only", of(ACME)).await.unwrap();
    assert!(!page.events.is_empty());
    assert!(
        page.events
            .iter()
            .all(|event| event.organization_id == ACME)
    );
    let answer = list_as(&world, "all", of("unknown")).await;
    assert_eq!(reason(answer), "ORGANIZATION_NOT_FOUND");
    // What it was refused stands in no log but the operator's.
    let organization = Organization {
        id: OTHER.to_owned(),
        name: "Mine".to_owned(),
        ..Default::default()
    };
    let denied = written(&world, async {
        let organizations = vec![organization];
        let request = UpsertOrganizationsRequest { organizations };
        let mut client = world.directory_of("acme-only");
        client.upsert_organizations(request).await.unwrap();
    })
    .await;
    assert_eq!(denied.len(), 1);
    assert_eq!(
        (
            denied[0].organization_id.as_str(),
            denied[0].caller.as_str()
        ),
        ("", "acme-only")
    );
    // The history outlives the organization.
    let organization_id = ACME.to_owned();
    let request = DeleteOrganizationRequest { organization_id };
    world
        .directory()
        .delete_organization(request)
        .await
        .unwrap();
    let page = list_as(&world, "acme-only", of(ACME)).await.unwrap();
    assert_eq!(page.events[0].action(), AuditAction::DeleteOrganization);
}

#[tokio::test]
async fn nothing_changes_an_event_and_only_the_retention_deletes_one() {
    let world = World::start().await;
    let mut database = world.database().await;
    let before = rows(&world).await;
    for statement in [
        "UPDATE audit_events SET caller = 'nobody'",
        "UPDATE audit_events SET counts = '{}' WHERE organization_id = 'acme'",
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE organization_id = 'acme'",
        "TRUNCATE audit_events",
        // What opens the guard for deletions opens it for nothing else.
        "SET invitations.audit_retention = 'on'; UPDATE audit_events SET caller = 'nobody'",
        "SET invitations.audit_retention = 'on'; TRUNCATE audit_events",
        // There is no place for words.
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
    assert_eq!(rows(&world).await, before);

    world.clock.advance(Duration::DAY);
    world.add_user("late", "Late", &[]).await;
    let until = START + Duration::DAY;
    let due = i64::try_from(before.len()).unwrap();
    // Oldest first, as many as it is told, and never what is younger.
    let oldest = audit_events::purge(&mut Connection::new(&mut database), until, 2)
        .await
        .unwrap();
    let left = rows(&world).await;
    assert_eq!((oldest.count, &left[..left.len() - 1]), (2, &before[2..]));
    assert_eq!(oldest.oldest, Some(before[0].created_at));
    let rest = audit_events::purge(&mut Connection::new(&mut database), until, 1_000)
        .await
        .unwrap();
    assert_eq!((rest.count, rows(&world).await.len()), (due - 2, 1));
    assert_eq!(
        audit_events::purge(&mut Connection::new(&mut database), until, 1_000)
            .await
            .unwrap()
            .count,
        0
    );
    // The guard is closed again.
    let error = database.execute("DELETE FROM audit_events").await;
    error.unwrap_err();
    assert_eq!(rows(&world).await.len(), 1);
}

/// Events of two large organizations and a small one, the oldest of all.
async fn fill(database: &mut PgConnection) {
    database
        .execute(
            "INSERT INTO audit_events (id, created_at, organization_id, action, outcome, caller, invitation_id, counts)
             SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now(),
                    CASE WHEN n <= 10 THEN 'small' WHEN n % 2 = 0 THEN 'acme' ELSE 'other' END,
                    'accept', 'OK', 'filler', ('01900000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, '{}'
               FROM generate_series(1, 200000) AS n",
        )
        .await
        .unwrap();
}

/// How often the table was read as a whole by this connection, and how many of its rows.
async fn reads(connection: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as(
        "SELECT seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0)
           FROM pg_stat_xact_user_tables WHERE relname = 'audit_events'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_page_of_an_organization_reads_that_page_alone() {
    let world = World::start().await;
    let mut database = world.database().await;
    fill(&mut database).await;
    let of_one = |organization_id: &str| AuditFilter {
        organization_id: Some(organization_id.to_owned()),
        ..Default::default()
    };
    let middle = Uuid::parse_str("01900000-0000-7000-8000-000000018000").unwrap();
    let invitation_id = Uuid::parse_str("01900000-0000-7000-9000-000000000064").ok();
    let about = AuditFilter {
        invitation_id,
        ..of_one(ACME)
    };
    let about_all = AuditFilter {
        organization_id: None,
        ..about.clone()
    };
    for is_analyzed in [false, true] {
        if is_analyzed {
            database.execute("ANALYZE audit_events").await.unwrap();
        }
        for (number, (filter, before, expected)) in [
            (of_one(ACME), None, 101),
            (of_one(ACME), Some(middle), 101),
            (of_one("small"), None, 10),
            (AuditFilter::default(), Some(middle), 101),
            (about.clone(), None, 1),
            (about_all.clone(), None, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let mut transaction = database.begin().await.unwrap();
            store::plan_afresh(&mut Connection::new(&mut transaction))
                .await
                .unwrap();
            let before_it = reads(&mut transaction).await;
            let found =
                audit_events::list(&mut Connection::new(&mut transaction), &filter, before, 101)
                    .await;
            let found = found.unwrap();
            assert_eq!(found.len(), expected, "{number}");
            let after_it = reads(&mut transaction).await;
            let (scans, read) = (after_it.0 - before_it.0, after_it.1 - before_it.1);
            let told = format!("{number} {is_analyzed}: {scans} scans, {read} rows");
            // The planner looks at the ends of the indexes, too.
            assert!(scans == 0 && read <= 101 + 10, "{told}");
        }
    }
}

/// Runs a command line against the world; what it printed.
async fn command(world: &World, line: &[&str]) -> String {
    let arguments = [&["audit", "list"], line].concat();
    let (code, out) = run_client(&world.address().to_string(), &arguments).await;
    assert_eq!(code, Some(0), "{out}");
    out
}

#[tokio::test]
async fn the_command_line_lists() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "thief", "x@b.co").await.err().unwrap();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let out = command(&world, &["--organization", ACME, "--action", "accept"]).await;
    assert!(
        out.contains("EMAIL_MISMATCH") && out.ends_with("\n2 events\n"),
        "{out}"
    );
    let out = command(&world, &["--limit", "1"]).await;
    assert!(out.ends_with("\n1 event, and there are more\n"), "{out}");
    let asked = ["--invitation", &invitation.id, "--user", "new", "--json"];
    let told: Value = serde_json::from_str(&command(&world, &asked).await).unwrap();
    assert_eq!(told["has_more"], false);
    assert_eq!(told["events"].as_array().unwrap().len(), 1);
    assert_eq!(told["events"][0]["counts"]["created"], 1);
    let none = ["--since", "2030-01-01T00:00:00Z", "--caller", "all"];
    assert_eq!(command(&world, &none).await, "0 events\n");
}
