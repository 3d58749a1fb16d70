//! The suppression list itself: what is added, kept, shown and lifted, and by whom.

use invitations::domain::suppression::SuppressionReason as Reason;
use invitations::proto::{
    AddOutcome, AddResult, ErrorReason, LiftOutcome, LiftResult, Suppression, SuppressionReason,
    SuppressionServiceAddRequest, SuppressionServiceAddResponse, SuppressionServiceLiftRequest,
    SuppressionServiceLiftResponse, SuppressionServiceListRequest, SuppressionServiceListResponse,
};
use invitations::store::Connection;
use invitations::store::suppressions::{self, SuppressionRow};
use prost_types::Timestamp;
use time::{Duration, OffsetDateTime};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::features::suppression::{add, lift, row};
use crate::support::programs::run_client;
use crate::support::{ACME, OTHER, START, World, reason};

use AddOutcome::{Added, Failed, Kept, Updated};
use LiftOutcome::{Lifted, NotSuppressed};
use SuppressionReason::{HardBounce, Manual, Unspecified};

fn owned(emails: &[&str]) -> Vec<String> {
    emails.iter().map(|email| (*email).to_owned()).collect()
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: 0,
    }
}

async fn add_as(
    world: &World,
    caller: &str,
    request: SuppressionServiceAddRequest,
) -> Result<SuppressionServiceAddResponse, Status> {
    let answer = world.suppressions_of(caller).add(request).await?;
    Ok(answer.into_inner())
}

async fn lift_as(
    world: &World,
    caller: &str,
    request: SuppressionServiceLiftRequest,
) -> Result<SuppressionServiceLiftResponse, Status> {
    let answer = world.suppressions_of(caller).lift(request).await?;
    Ok(answer.into_inner())
}

async fn list_as(
    world: &World,
    caller: &str,
    request: SuppressionServiceListRequest,
) -> Result<SuppressionServiceListResponse, Status> {
    let answer = world.suppressions_of(caller).list(request).await?;
    Ok(answer.into_inner())
}

async fn everything(world: &World) -> Vec<Suppression> {
    let request = SuppressionServiceListRequest::default();
    let page = list_as(world, "all", request).await.unwrap();
    assert!(page.next_page_token.is_empty(), "there is more");
    page.suppressions
}

fn outcomes(results: &[AddResult]) -> Vec<AddOutcome> {
    results.iter().map(AddResult::outcome).collect()
}

#[tokio::test]
async fn each_address_is_answered_in_its_place() {
    let world = World::start().await;
    let request = SuppressionServiceAddRequest {
        emails: owned(&["a@b.co", "what", " A@B.co\t", "ü@b.co", "c@b.co"]),
        ..Default::default()
    };
    let answer = add_as(&world, "all", request.clone()).await.unwrap();
    assert_eq!(answer.failed_count, 3);
    let indexes: Vec<i32> = answer.results.iter().map(|result| result.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    let expected = [Added, Failed, Failed, Failed, Added];
    assert_eq!(outcomes(&answer.results), expected);
    let errors: Vec<_> = answer
        .results
        .iter()
        .filter_map(|result| result.error.as_ref())
        .collect();
    let reasons: Vec<_> = errors.iter().map(|error| error.reason()).collect();
    assert_eq!(
        reasons,
        [
            ErrorReason::EmailInvalid,
            ErrorReason::DuplicateInRequest,
            ErrorReason::EmailUnsupported
        ]
    );
    assert_eq!(errors[1].metadata["first_index"], "0");

    let again = add_as(&world, "all", request.clone()).await.unwrap();
    let expected = [Updated, Failed, Failed, Failed, Updated];
    assert_eq!(outcomes(&again.results), expected);
    let request = SuppressionServiceLiftRequest {
        emails: owned(&["what", "A@b.co", "b@b.co", "a@b.co"]),
        ..Default::default()
    };
    let answer = lift_as(&world, "all", request).await.unwrap();
    let lifted: Vec<_> = answer.results.iter().map(LiftResult::outcome).collect();
    let expected = [
        LiftOutcome::Failed,
        Lifted,
        NotSuppressed,
        LiftOutcome::Failed,
    ];
    assert_eq!((lifted, answer.failed_count), (expected.to_vec(), 2));
    assert_eq!(everything(&world).await.len(), 1);
}

#[tokio::test]
async fn the_list_names_nobody() {
    let world = World::start().await;
    add(&world, ACME, &["ada.lovelace@example.com"]).await;
    let [entry] = everything(&world).await.try_into().ok().unwrap();
    assert_eq!(entry.organization_id, ACME);
    assert_eq!(entry.reason(), SuppressionReason::Manual);
    assert_eq!(entry.create_time, Some(timestamp(START)));
    assert_eq!(entry.expire_time, None);
    assert_eq!(entry.tag.len(), 16);
    let mut database = world.database().await;
    let stored: String = sqlx::query_scalar("SELECT to_jsonb(s)::text FROM suppressions s")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(
        !stored.contains("lovelace") && !stored.contains("example"),
        "{stored}"
    );
}

#[tokio::test]
async fn the_stronger_of_two_suppressions_stays_whichever_came_first() {
    let world = World::start().await;
    let mut database = world.database().await;
    let ends: [Option<OffsetDateTime>; 3] = [
        Some(START + Duration::days(1)),
        Some(START + Duration::days(2)),
        None,
    ];
    let all: Vec<SuppressionRow> = Reason::ALL
        .into_iter()
        .flat_map(|reason| {
            ends.map(|expires_at| SuppressionRow {
                expires_at,
                ..row("", "a@b.co", reason)
            })
        })
        .collect();
    let strength = |row: &SuppressionRow| {
        let end = row.expires_at.unwrap_or(START + Duration::days(1_000));
        (end, row.reason)
    };
    for one in &all {
        for other in &all {
            sqlx::query("DELETE FROM suppressions")
                .execute(&mut database)
                .await
                .unwrap();
            for row in [one, other] {
                let rows = [row.clone()];
                suppressions::upsert_many(&mut Connection::new(&mut database), &rows, START)
                    .await
                    .unwrap();
            }
            let filter = suppressions::SuppressionFilter::default();
            let found = suppressions::list(
                &mut Connection::new(&mut database),
                &filter,
                None,
                10,
                START,
            )
            .await
            .unwrap();
            let stronger = if strength(one) > strength(other) {
                one
            } else {
                other
            };
            assert_eq!(
                (found[0].reason, found[0].expires_at),
                (stronger.reason, stronger.expires_at),
                "{one:?} {other:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_was_added_by_hand_never_shortens_what_is_there() {
    let world = World::start().await;
    let mut database = world.database().await;
    let complaint = [row("", "a@b.co", Reason::Complaint)];
    suppressions::upsert_many(&mut Connection::new(&mut database), &complaint, START)
        .await
        .unwrap();
    let request = |days| SuppressionServiceAddRequest {
        emails: owned(&["a@b.co", "c@b.co"]),
        organization_id: String::new(),
        expire_time: Some(timestamp(START + Duration::days(days))),
    };
    for (days, expected) in [(2, [Kept, Added]), (1, [Kept, Kept]), (3, [Kept, Updated])] {
        let answer = add_as(&world, "all", request(days)).await.unwrap();
        assert_eq!(outcomes(&answer.results), expected, "{days}");
    }
    let mut reasons: Vec<_> = everything(&world)
        .await
        .iter()
        .map(|entry| (entry.reason(), entry.expire_time))
        .collect();
    reasons.sort_by_key(|(reason, _)| *reason as i32);
    let end = Some(timestamp(START + Duration::days(3)));
    assert_eq!(
        reasons,
        [
            (SuppressionReason::Complaint, None),
            (SuppressionReason::Manual, end)
        ]
    );
}

#[tokio::test]
async fn what_was_added_for_a_time_ends_with_it() {
    let world = World::start().await;
    let request = |end: OffsetDateTime| SuppressionServiceAddRequest {
        emails: owned(&["a@b.co"]),
        organization_id: String::new(),
        expire_time: Some(timestamp(end)),
    };
    for past in [START, START - Duration::days(1)] {
        let status = add_as(&world, "all", request(past)).await.err().unwrap();
        let details = status.get_error_details();
        let violation = details.bad_request().unwrap().field_violations[0].clone();
        assert_eq!(violation.field, "expire_time");
    }
    add_as(&world, "all", request(START + Duration::days(1)))
        .await
        .unwrap();
    world
        .clock
        .advance(Duration::days(1) - Duration::seconds(1));
    assert_eq!(everything(&world).await.len(), 1);
    world.clock.advance(Duration::seconds(1));
    assert!(everything(&world).await.is_empty());
    // It is still in the table; for whoever asks it is not there.
    let lifting = SuppressionServiceLiftRequest {
        emails: owned(&["a@b.co"]),
        organization_id: String::new(),
    };
    let again = add_as(&world, "all", request(START + Duration::days(9))).await;
    assert_eq!(outcomes(&again.unwrap().results), [AddOutcome::Added]);
    world.clock.advance(Duration::days(8));
    let lifted = lift_as(&world, "all", lifting).await.unwrap();
    assert_eq!(lifted.results[0].outcome(), LiftOutcome::NotSuppressed);
}

#[tokio::test]
async fn a_limited_caller_sees_and_changes_what_is_its_own_alone() {
    let world = World::start().await;
    add(&world, "", &["a@b.co"]).await;
    add(&world, OTHER, &["a@b.co"]).await;
    for organization_id in ["", OTHER, "unknown"] {
        let organization_id = organization_id.to_owned();
        let adding = SuppressionServiceAddRequest {
            emails: owned(&["a@b.co"]),
            organization_id: organization_id.clone(),
            expire_time: None,
        };
        let asking = SuppressionServiceListRequest {
            organization_id: organization_id.clone(),
            ..Default::default()
        };
        let lifting = SuppressionServiceLiftRequest {
            emails: owned(&["a@b.co"]),
            organization_id,
        };
        let refused = [
            add_as(&world, "acme-only", adding).await.map(drop),
            list_as(&world, "acme-only", asking).await.map(drop),
            lift_as(&world, "acme-only", lifting).await.map(drop),
        ];
        for refused in refused {
            assert_eq!(reason(refused), "ORGANIZATION_DENIED");
        }
    }
    let own = || SuppressionServiceListRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    let page = list_as(&world, "acme-only", own()).await.unwrap();
    assert!(page.suppressions.is_empty());
    let adding = SuppressionServiceAddRequest {
        emails: owned(&["a@b.co"]),
        organization_id: ACME.to_owned(),
        expire_time: None,
    };
    add_as(&world, "acme-only", adding).await.unwrap();
    let page = list_as(&world, "acme-only", own()).await.unwrap();
    assert_eq!(page.suppressions.len(), 1);
    let lifting = SuppressionServiceLiftRequest {
        emails: owned(&["a@b.co"]),
        organization_id: ACME.to_owned(),
    };
    let lifted = lift_as(&world, "acme-only", lifting).await.unwrap();
    assert_eq!(lifted.results[0].outcome(), LiftOutcome::Lifted);
    let left = everything(&world).await;
    let left: Vec<_> = left
        .iter()
        .map(|entry| entry.organization_id.as_str())
        .collect();
    assert_eq!(left, ["", OTHER]);
    // The list of all is another one than those of each.
    lift(&world, "", "a@b.co").await;
    assert_eq!(everything(&world).await.len(), 1);
}

#[tokio::test]
async fn an_organization_that_is_not_there_is_told() {
    let world = World::start().await;
    let unknown = || "unknown".to_owned();
    let adding = SuppressionServiceAddRequest {
        emails: owned(&["a@b.co"]),
        organization_id: unknown(),
        expire_time: None,
    };
    let asking = SuppressionServiceListRequest {
        organization_id: unknown(),
        ..Default::default()
    };
    let lifting = SuppressionServiceLiftRequest {
        emails: owned(&["a@b.co"]),
        organization_id: unknown(),
    };
    let refused = [
        add_as(&world, "all", adding).await.map(drop),
        list_as(&world, "all", asking).await.map(drop),
        lift_as(&world, "all", lifting).await.map(drop),
    ];
    for refused in refused {
        assert_eq!(reason(refused), "ORGANIZATION_NOT_FOUND");
    }
}

#[tokio::test]
async fn ten_thousand_addresses_are_added_and_lifted_in_one_call_each() {
    let world = World::start().await;
    let emails = |count: usize| (0..count).map(|number| format!("p{number}@b.co"));
    for (count, expected) in [(0, "ITEMS_EMPTY"), (10_001, "TOO_MANY_ITEMS")] {
        let request = SuppressionServiceAddRequest {
            emails: emails(count).collect(),
            ..Default::default()
        };
        assert_eq!(reason(add_as(&world, "all", request).await), expected);
        let request = SuppressionServiceLiftRequest {
            emails: emails(count).collect(),
            ..Default::default()
        };
        assert_eq!(reason(lift_as(&world, "all", request).await), expected);
    }
    let request = SuppressionServiceAddRequest {
        emails: emails(10_000).collect(),
        ..Default::default()
    };
    let answer = add_as(&world, "all", request).await.unwrap();
    assert!(
        answer
            .results
            .iter()
            .all(|one| one.outcome() == AddOutcome::Added)
    );
    let names: Vec<String> = emails(10_000).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let invited = world.invite(&names).await;
    assert_eq!(invited.failed_count, 10_000);
    let request = SuppressionServiceLiftRequest {
        emails: emails(10_000).collect(),
        ..Default::default()
    };
    let answer = lift_as(&world, "all", request).await.unwrap();
    assert!(
        answer
            .results
            .iter()
            .all(|one| one.outcome() == LiftOutcome::Lifted)
    );
    assert!(everything(&world).await.is_empty());
}

#[tokio::test]
async fn pages_show_each_entry_once_and_filters_narrow_them() {
    let world = World::start().await;
    let emails: Vec<String> = (0..250).map(|number| format!("p{number}@b.co")).collect();
    let names: Vec<&str> = emails.iter().map(String::as_str).collect();
    for organization_id in ["", ACME, OTHER] {
        add(&world, organization_id, &names).await;
    }
    let mut database = world.database().await;
    let bounced = [row(ACME, "bounced@b.co", Reason::HardBounce)];
    suppressions::upsert_many(&mut Connection::new(&mut database), &bounced, START)
        .await
        .unwrap();
    let filter = |organization_id: &str, email: &str, reason: SuppressionReason| {
        SuppressionServiceListRequest {
            organization_id: organization_id.to_owned(),
            email: email.to_owned(),
            reason: reason.into(),
            ..Default::default()
        }
    };
    for (request, expected) in [
        (filter("", "", Unspecified), 751),
        (filter(ACME, "", Unspecified), 251),
        (filter(ACME, "", Manual), 250),
        (filter("", "P7@b.co", Unspecified), 3),
        (filter(ACME, "p7@b.co", Unspecified), 1),
        (filter("", "", HardBounce), 1),
        (filter(OTHER, "", HardBounce), 0),
        (filter("", "bounced@b.co", Manual), 0),
    ] {
        let mut request = SuppressionServiceListRequest {
            page_size: 100,
            ..request
        };
        let mut keys = std::collections::HashSet::new();
        loop {
            let page = list_as(&world, "all", request.clone()).await.unwrap();
            for entry in page.suppressions {
                assert!(keys.insert((entry.organization_id, entry.tag)));
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(keys.len(), expected);
    }
}

#[tokio::test]
async fn a_page_token_and_a_malformed_filter_are_refused() {
    let world = World::start().await;
    add(&world, "", &["a@b.co", "c@b.co"]).await;
    let first = SuppressionServiceListRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = list_as(&world, "all", first.clone()).await.unwrap();
    let next = SuppressionServiceListRequest {
        page_token: page.next_page_token,
        ..first
    };
    for (request, expected) in [
        (
            SuppressionServiceListRequest {
                email: "a@b.co".to_owned(),
                ..next.clone()
            },
            "PAGE_TOKEN_INVALID",
        ),
        (
            SuppressionServiceListRequest {
                page_token: "x".to_owned(),
                ..next.clone()
            },
            "PAGE_TOKEN_INVALID",
        ),
        (
            SuppressionServiceListRequest {
                reason: 99,
                ..Default::default()
            },
            "FIELD_INVALID",
        ),
        (
            SuppressionServiceListRequest {
                email: "what".to_owned(),
                ..Default::default()
            },
            "EMAIL_INVALID",
        ),
        (
            SuppressionServiceListRequest {
                page_size: -1,
                ..Default::default()
            },
            "FIELD_INVALID",
        ),
    ] {
        let status = list_as(&world, "all", request).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(Err::<(), _>(status)), expected);
    }
}

#[tokio::test]
async fn calls_about_the_same_addresses_wait_for_each_other() {
    let world = World::start().await;
    let mut emails: Vec<String> = (0..500).map(|number| format!("p{number}@b.co")).collect();
    let mut calls = Vec::new();
    for round in 0..16 {
        emails.reverse();
        let (world, emails) = (&world, emails.clone());
        calls.push(async move {
            let organization_id = String::new();
            if round % 2 == 0 {
                let request = SuppressionServiceAddRequest {
                    emails,
                    organization_id,
                    expire_time: None,
                };
                add_as(world, "all", request).await.map(drop)
            } else {
                let request = SuppressionServiceLiftRequest {
                    emails,
                    organization_id,
                };
                lift_as(world, "all", request).await.map(drop)
            }
        });
    }
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    let mut database = world.database().await;
    let deadlocks: i64 = sqlx::query_scalar(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

/// Runs a command line against the world; what it printed, and how it ended.
async fn command(world: &World, line: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["suppression"], line].concat();
    let (code, out) = run_client(&world.address().to_string(), &arguments).await;
    (out, code)
}

#[tokio::test]
async fn the_command_line_adds_lists_and_lifts() {
    let world = World::start().await;
    let (out, exit) = command(&world, &["add", "a@b.co", "--organization", ACME]).await;
    assert_eq!(exit, Some(0));
    assert!(out.contains("a@b.co") && out.contains("ADDED"), "{out}");
    let (out, exit) = command(&world, &["add", "a@b.co", "what", "--json"]).await;
    assert_eq!(exit, Some(3));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["results"][1]["reason"], "EMAIL_INVALID");

    let (out, exit) = command(&world, &["list"]).await;
    assert_eq!(exit, Some(0));
    assert!(
        out.ends_with("\n2 entries\n") && !out.contains("a@b.co"),
        "{out}"
    );
    let asked = ["list", "--email", "A@b.co", "--reason", "manual", "--json"];
    let (out, exit) = command(&world, &asked).await;
    assert_eq!(exit, Some(0));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["suppressions"].as_array().unwrap().len(), 2);
    let (out, exit) = command(&world, &["list", "--email", "c@b.co"]).await;
    assert_eq!((out.as_str(), exit), ("0 entries\n", Some(1)));

    let (out, exit) = command(&world, &["lift", "a@b.co", "c@b.co"]).await;
    assert_eq!(exit, Some(0));
    assert!(
        out.contains("LIFTED") && out.contains("NOT_SUPPRESSED"),
        "{out}"
    );
    assert_eq!(everything(&world).await.len(), 1);
}
