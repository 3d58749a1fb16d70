//! Listing the audit log: filters, pages, permissions, and how many rows a page reads.

use invitations::domain::audit::AuditFilter;
use invitations::proto::{
    AuditAction, AuditEvent, ErrorReason, ListAuditEventsRequest, UpsertOrganizationsRequest,
};
use invitations::store;
use invitations::store::Connection;
use invitations::store::audit_events;
use prost_types::Timestamp;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use time::{Duration, OffsetDateTime};
use tonic::Code;
use uuid::Uuid;

use crate::support::audit::{audit_rows, audit_rows_of, list_audit_events};
use crate::support::directory::organization;
use crate::support::programs::run_client;
use crate::support::{ACME, OTHER, START, World, invite_request, reason, status_reason};

/// All events that match a request, page by page.
async fn list_all(world: &World, request: ListAuditEventsRequest) -> Vec<AuditEvent> {
    let mut request = ListAuditEventsRequest {
        page_size: 3,
        ..request
    };
    let mut events = Vec::new();
    loop {
        let page = list_audit_events(world, "all", request.clone())
            .await
            .unwrap();
        assert!(page.events.len() <= 3);
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

fn events_of(organization_id: &str) -> ListAuditEventsRequest {
    ListAuditEventsRequest {
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
async fn pages_show_each_event_once_with_the_newest_first_and_filters_select_events() {
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
    let all = audit_rows(&world).await;
    let ids: Vec<String> = all.iter().rev().map(|row| row.id.to_string()).collect();
    let shown = list_all(&world, ListAuditEventsRequest::default()).await;
    let shown: Vec<_> = shown.into_iter().map(|event| event.id).collect();
    assert_eq!(shown, ids);

    let acme = all.iter().filter(|row| row.organization_id == ACME).count();
    let about = |id: &str| ListAuditEventsRequest {
        invitation_id: id.to_owned(),
        ..events_of("")
    };
    let by = |caller: &str| ListAuditEventsRequest {
        caller: caller.to_owned(),
        ..events_of(ACME)
    };
    let for_user = |user_id: &str| ListAuditEventsRequest {
        user_id: user_id.to_owned(),
        ..events_of(ACME)
    };
    let doing = |action: AuditAction| ListAuditEventsRequest {
        action: action.into(),
        ..events_of("")
    };
    let made = |batch_id: &str| ListAuditEventsRequest {
        batch_id: batch_id.to_owned(),
        ..events_of(ACME)
    };
    let within = |hours: std::ops::Range<i64>| ListAuditEventsRequest {
        start_time: Some(timestamp(START + Duration::hours(hours.start))),
        end_time: Some(timestamp(START + Duration::hours(hours.end))),
        ..events_of(ACME)
    };
    for (number, (request, expected)) in [
        (events_of(ACME), acme),
        (events_of(OTHER), 2),
        (about(&invitation.id), 2),
        (
            ListAuditEventsRequest {
                invitation_id: invitation.id.clone(),
                ..events_of(OTHER)
            },
            0,
        ),
        (by("acme-only"), 1),
        (by("all"), acme - 1),
        (by("nobody"), 0),
        (for_user("thief"), 1),
        // Ada's membership and both batches.
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
        assert_eq!(list_all(&world, request).await.len(), expected, "{number}");
    }
    let [refused] = list_all(&world, for_user("thief"))
        .await
        .try_into()
        .ok()
        .unwrap();
    assert_eq!(refused.refusal(), ErrorReason::EmailMismatch);
    assert!(refused.refusal.is_some() && refused.action() == AuditAction::Accept);
    assert_eq!(refused.create_time, Some(timestamp(START + Duration::HOUR)));
}

#[tokio::test]
async fn a_foreign_page_token_and_a_malformed_filter_are_refused() {
    let world = World::start().await;
    let first = ListAuditEventsRequest {
        page_size: 1,
        ..events_of(ACME)
    };
    let page = list_audit_events(&world, "all", first.clone())
        .await
        .unwrap();
    let next = ListAuditEventsRequest {
        page_token: page.next_page_token,
        ..first
    };
    let wrong = |change: &dyn Fn(&mut ListAuditEventsRequest)| {
        let mut request = next.clone();
        change(&mut request);
        request
    };
    let malformed = |change: &dyn Fn(&mut ListAuditEventsRequest)| {
        let mut request = events_of(ACME);
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
        let status = list_audit_events(&world, "all", request)
            .await
            .err()
            .unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status_reason(&status), expected);
    }
}

#[tokio::test]
async fn a_caller_for_one_organization_sees_only_the_events_of_that_organization() {
    let world = World::start().await;
    for organization_id in ["", OTHER, "unknown"] {
        let answer = list_audit_events(&world, "acme-only", events_of(organization_id)).await;
        assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    }
    let page = list_audit_events(&world, "acme-only", events_of(ACME))
        .await
        .unwrap();
    assert!(!page.events.is_empty());
    assert!(
        page.events
            .iter()
            .all(|event| event.organization_id == ACME)
    );
    let answer = list_audit_events(&world, "all", events_of("unknown")).await;
    assert_eq!(reason(answer), "ORGANIZATION_NOT_FOUND");
    // A refused item is recorded without an organization, so only callers for all organizations see it.
    let denied = audit_rows_of(&world, async {
        let organizations = vec![organization(OTHER, "Mine")];
        let request = UpsertOrganizationsRequest {
            organizations,
            ..Default::default()
        };
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
    // The history remains after the organization is deleted.
    world.delete_organization().await;
    let page = list_audit_events(&world, "acme-only", events_of(ACME))
        .await
        .unwrap();
    assert_eq!(page.events[0].action(), AuditAction::DeleteOrganization);
}

/// Inserts events of two large organizations, and older ones of a small organization.
async fn insert_events(database: &mut PgConnection) {
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

/// How many sequential scans of the table this transaction made, and how many rows it read.
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
async fn a_page_reads_only_the_rows_of_that_page() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_events(&mut database).await;
    let of_organization = |organization_id: &str| AuditFilter {
        organization_id: Some(organization_id.to_owned()),
        ..Default::default()
    };
    let middle = Uuid::parse_str("01900000-0000-7000-8000-000000018000").unwrap();
    let invitation_id = Uuid::parse_str("01900000-0000-7000-9000-000000000064").ok();
    let about = AuditFilter {
        invitation_id,
        ..of_organization(ACME)
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
            (of_organization(ACME), None, 101),
            (of_organization(ACME), Some(middle), 101),
            (of_organization("small"), None, 10),
            (AuditFilter::default(), Some(middle), 101),
            (about.clone(), None, 1),
            (about_all.clone(), None, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let mut transaction = database.begin().await.unwrap();
            store::planner::force_custom_plans(&mut Connection::new(&mut transaction))
                .await
                .unwrap();
            let reads_before = reads(&mut transaction).await;
            let found =
                audit_events::list(&mut Connection::new(&mut transaction), &filter, before, 101)
                    .await;
            let found = found.unwrap();
            assert_eq!(found.len(), expected, "{number}");
            let reads_after = reads(&mut transaction).await;
            let (scans, read) = (
                reads_after.0 - reads_before.0,
                reads_after.1 - reads_before.1,
            );
            let case = format!("{number} {is_analyzed}: {scans} scans, {read} rows");
            // The planner also reads the ends of the indexes.
            assert!(scans == 0 && read <= 101 + 10, "{case}");
        }
    }
}

/// Runs `invitectl audit list` and returns its output.
async fn audit_list_command(world: &World, line: &[&str]) -> String {
    let arguments = [&["audit", "list"], line].concat();
    let (code, out) = run_client(&world.address().to_string(), &arguments).await;
    assert_eq!(code, Some(0), "{out}");
    out
}

#[tokio::test]
async fn the_client_command_lists_events() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "thief", "x@b.co").await.err().unwrap();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let out = audit_list_command(&world, &["--organization", ACME, "--action", "accept"]).await;
    assert!(
        out.contains("EMAIL_MISMATCH") && out.ends_with("\n2 events\n"),
        "{out}"
    );
    let out = audit_list_command(&world, &["--limit", "1"]).await;
    assert!(out.ends_with("\n1 event, and there are more\n"), "{out}");
    let options = ["--invitation", &invitation.id, "--user", "new", "--json"];
    let listed: Value = serde_json::from_str(&audit_list_command(&world, &options).await).unwrap();
    assert_eq!(listed["has_more"], false);
    assert_eq!(listed["events"].as_array().unwrap().len(), 1);
    assert_eq!(listed["events"][0]["counts"]["created"], 1);
    let none = ["--since", "2030-01-01T00:00:00Z", "--caller", "all"];
    assert_eq!(audit_list_command(&world, &none).await, "0 events\n");
}
