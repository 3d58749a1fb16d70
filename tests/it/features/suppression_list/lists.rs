//! Reading the suppression list: its content, its permissions, its pages, and the commands of the client.

use std::collections::HashSet;

use invitations::domain::suppression::SuppressionReason as Reason;
use invitations::proto::{LiftSuppressionOutcome, ListSuppressionsRequest, SuppressionReason};
use tonic::{Code, Status};

use super::{
    add_as, add_request, all_suppressions, lift_as, lift_request, list_as, list_request_of,
    timestamp,
};
use crate::support::programs::run_client;
use crate::support::suppression_rows::{suppression_row, write_suppressions};
use crate::support::{ACME, OTHER, START, World, numbered_emails, reason, status_reason};

use SuppressionReason::{HardBounce, Manual, Unspecified};

#[tokio::test]
async fn the_suppression_list_stores_no_address() {
    let world = World::start().await;
    world.suppress(ACME, &["ada.lovelace@example.com"]).await;
    let [entry] = all_suppressions(&world).await.try_into().ok().unwrap();
    assert_eq!(entry.organization_id, ACME);
    assert_eq!(entry.reason(), SuppressionReason::Manual);
    assert_eq!(entry.create_time, Some(timestamp(START)));
    assert_eq!(entry.expire_time, None);
    assert_eq!(entry.tag.len(), 16);
    let stored: String = sqlx::query_scalar("SELECT to_jsonb(s)::text FROM suppressions s")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert!(
        !stored.contains("lovelace") && !stored.contains("example"),
        "{stored}"
    );
}

/// Adds, lists and lifts a suppression of an organization as a caller.
async fn all_calls(world: &World, caller: &str, organization_id: &str) -> [Result<(), Status>; 3] {
    let add = add_request(organization_id, &["a@b.co"]);
    let lift = lift_request(organization_id, &["a@b.co"]);
    [
        add_as(world, caller, add).await.map(drop),
        list_as(world, caller, list_request_of(organization_id))
            .await
            .map(drop),
        lift_as(world, caller, lift).await.map(drop),
    ]
}

#[tokio::test]
async fn a_caller_limited_to_an_organization_reads_and_changes_only_its_suppressions() {
    let world = World::start().await;
    world.suppress("", &["a@b.co"]).await;
    world.suppress(OTHER, &["a@b.co"]).await;
    for organization_id in ["", OTHER, "unknown"] {
        for refused in all_calls(&world, "acme-only", organization_id).await {
            assert_eq!(reason(refused), "ORGANIZATION_DENIED");
        }
    }
    let own = || list_request_of(ACME);
    let page = list_as(&world, "acme-only", own()).await.unwrap();
    assert!(page.suppressions.is_empty());
    let request = add_request(ACME, &["a@b.co"]);
    add_as(&world, "acme-only", request).await.unwrap();
    let page = list_as(&world, "acme-only", own()).await.unwrap();
    assert_eq!(page.suppressions.len(), 1);
    let request = lift_request(ACME, &["a@b.co"]);
    let lifted = lift_as(&world, "acme-only", request).await.unwrap();
    assert_eq!(lifted.results[0].outcome(), LiftSuppressionOutcome::Lifted);
    let left = all_suppressions(&world).await;
    let left: Vec<_> = left
        .iter()
        .map(|entry| entry.organization_id.as_str())
        .collect();
    assert_eq!(left, ["", OTHER]);
    // A suppression for all organizations is separate from those of one organization.
    world.lift_suppression("", "a@b.co").await;
    assert_eq!(all_suppressions(&world).await.len(), 1);
}

#[tokio::test]
async fn suppressions_of_an_unknown_organization_are_refused() {
    let world = World::start().await;
    for refused in all_calls(&world, "all", "unknown").await {
        assert_eq!(reason(refused), "ORGANIZATION_NOT_FOUND");
    }
}

#[tokio::test]
async fn pages_show_each_suppression_once_and_filters_apply() {
    let world = World::start().await;
    let emails = numbered_emails("p", "b.co", 0..250);
    for organization_id in ["", ACME, OTHER] {
        let request = add_request(organization_id, &emails);
        add_as(&world, "all", request).await.unwrap();
    }
    let bounced = suppression_row(ACME, "bounced@b.co", Reason::HardBounce);
    write_suppressions(&world, &[bounced]).await;
    let filter =
        |organization_id: &str, email: &str, reason: SuppressionReason| ListSuppressionsRequest {
            organization_id: organization_id.to_owned(),
            email: email.to_owned(),
            reason: reason.into(),
            ..Default::default()
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
        let mut request = ListSuppressionsRequest {
            page_size: 100,
            ..request
        };
        let mut keys = HashSet::new();
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
async fn a_foreign_page_token_and_a_malformed_filter_are_refused() {
    let world = World::start().await;
    world.suppress("", &["a@b.co", "c@b.co"]).await;
    let first = ListSuppressionsRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = list_as(&world, "all", first.clone()).await.unwrap();
    let next = ListSuppressionsRequest {
        page_token: page.next_page_token,
        ..first
    };
    for (request, expected) in [
        (
            ListSuppressionsRequest {
                email: "a@b.co".to_owned(),
                ..next.clone()
            },
            "PAGE_TOKEN_INVALID",
        ),
        (
            ListSuppressionsRequest {
                page_token: "x".to_owned(),
                ..next.clone()
            },
            "PAGE_TOKEN_INVALID",
        ),
        (
            ListSuppressionsRequest {
                reason: 99,
                ..Default::default()
            },
            "FIELD_INVALID",
        ),
        (
            ListSuppressionsRequest {
                email: "what".to_owned(),
                ..Default::default()
            },
            "EMAIL_INVALID",
        ),
        (
            ListSuppressionsRequest {
                page_size: -1,
                ..Default::default()
            },
            "FIELD_INVALID",
        ),
    ] {
        let status = list_as(&world, "all", request).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status_reason(&status), expected);
    }
}

/// Runs a `suppression` command. Returns the standard output and the exit status.
async fn run_command(world: &World, line: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["suppression"], line].concat();
    let (code, out) = run_client(&world.address().to_string(), &arguments).await;
    (out, code)
}

#[tokio::test]
async fn client_commands_add_list_and_lift_suppressions() {
    let world = World::start().await;
    let (out, exit) = run_command(&world, &["add", "a@b.co", "--organization", ACME]).await;
    assert_eq!(exit, Some(0));
    assert!(out.contains("a@b.co") && out.contains("ADDED"), "{out}");
    let (out, exit) = run_command(&world, &["add", "a@b.co", "what", "--json"]).await;
    assert_eq!(exit, Some(3));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["results"][1]["reason"], "EMAIL_INVALID");

    let (out, exit) = run_command(&world, &["list"]).await;
    assert_eq!(exit, Some(0));
    assert!(
        out.ends_with("\n2 entries\n") && !out.contains("a@b.co"),
        "{out}"
    );
    let arguments = ["list", "--email", "A@b.co", "--reason", "manual", "--json"];
    let (out, exit) = run_command(&world, &arguments).await;
    assert_eq!(exit, Some(0));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["suppressions"].as_array().unwrap().len(), 2);
    let (out, exit) = run_command(&world, &["list", "--email", "c@b.co"]).await;
    assert_eq!((out.as_str(), exit), ("0 entries\n", Some(1)));

    let (out, exit) = run_command(&world, &["lift", "a@b.co", "c@b.co"]).await;
    assert_eq!(exit, Some(0));
    assert!(
        out.contains("LIFTED") && out.contains("NOT_SUPPRESSED"),
        "{out}"
    );
    assert_eq!(all_suppressions(&world).await.len(), 1);
}
