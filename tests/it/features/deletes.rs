//! Deletes of the directory: what is missing, dry runs, many in one call, and what the audit log says about them.

use invitations::proto::{
    BulkCreateRequest, BulkDeleteMembershipsRequest, BulkDeleteUsersRequest,
    DeleteMembershipRequest, DeleteOrganizationRequest, DeleteResult, DeleteUserRequest,
    InvitationState,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::audit::{AuditRow, audit_rows, audit_rows_of};
use crate::support::directory::{membership, user};
use crate::support::{
    ACME, OTHER, World, bulk_delete_memberships_request, bulk_delete_users_request,
    delete_membership_request, delete_organization_request, delete_user_request, invite_request,
    list_request, numbered_emails, reason, status_reason,
};

/// Invites so many addresses in the name of a user, who becomes an admin.
async fn invite_as(world: &World, organization_id: &str, inviter: &str, count: usize) {
    world
        .add_user(inviter, "", &[&format!("{inviter}@example.com")])
        .await;
    world.add_member(organization_id, inviter, "admin").await;
    let emails = numbered_emails(inviter, "b.co", 0..count);
    let request = BulkCreateRequest {
        organization_id: organization_id.to_owned(),
        inviter_user_id: inviter.to_owned(),
        ..invite_request(&emails)
    };
    world.bulk_create(request).await;
}

/// The outcome of each result and, if it failed, the reason and the index of its first duplicate.
fn outcomes(results: &[DeleteResult]) -> Vec<String> {
    let outcome = |(index, result): (usize, &DeleteResult)| {
        assert_eq!(usize::try_from(result.index), Ok(index));
        let outcome = result
            .outcome()
            .as_str_name()
            .replace("DELETE_OUTCOME_", "");
        let Some(error) = &result.error else {
            return outcome;
        };
        let reason = error.reason().as_str_name().replace("ERROR_REASON_", "");
        let field = &error.violations[0].field;
        let first = error
            .metadata
            .get("first_index")
            .cloned()
            .unwrap_or_default();
        format!("{outcome} {field} {reason} {first}")
            .trim_end()
            .to_owned()
    };
    results.iter().enumerate().map(outcome).collect()
}

/// Organization, subject and counts of each row.
fn summaries(rows: &[AuditRow]) -> Vec<(&str, &str, Value)> {
    let mut summaries: Vec<_> = rows
        .iter()
        .map(|row| {
            let subject = row.subject_user_id.as_deref().unwrap_or_default();
            (row.organization_id.as_str(), subject, row.counts.clone())
        })
        .collect();
    summaries.sort_by_key(|(organization_id, ..)| *organization_id);
    summaries
}

fn assert_missing<T>(answer: Result<T, Status>, expected: &str) {
    let status = answer.err().expect("the call was expected to be refused");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status_reason(&status), expected);
}

#[tokio::test]
async fn deleting_what_is_missing_is_not_found_unless_that_is_allowed() {
    let world = World::start().await;
    world.delete_organization().await;
    let rows = audit_rows(&world).await.len();
    let mut directory = world.directory();
    for organization_id in [ACME, "unknown"] {
        let request = DeleteOrganizationRequest {
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        let answer = directory.delete_organization(request.clone()).await;
        assert_missing(answer, "ORGANIZATION_NOT_FOUND");
        let allowed = DeleteOrganizationRequest {
            allow_missing: true,
            ..request
        };
        let answer = directory.delete_organization(allowed).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.revoked_invitation_count, 0);
        assert_eq!(answer.deleted_membership_count, 0);
    }
    let answer = directory.delete_user(delete_user_request("unknown")).await;
    assert_missing(answer, "USER_NOT_FOUND");
    let request = DeleteUserRequest {
        allow_missing: true,
        ..delete_user_request("unknown")
    };
    let answer = directory.delete_user(request).await.unwrap().into_inner();
    assert_eq!(answer.deleted_email_count, 0);
    let request = delete_membership_request("ada");
    let answer = directory.delete_membership(request.clone()).await;
    assert_missing(answer, "MEMBERSHIP_NOT_FOUND");
    let request = DeleteMembershipRequest {
        allow_missing: true,
        ..request
    };
    let answer = directory.delete_membership(request).await.unwrap();
    assert_eq!(answer.into_inner().revoked_invitation_count, 0);
    assert_eq!(audit_rows(&world).await.len(), rows, "nothing was changed");
}

#[tokio::test]
async fn a_dry_run_returns_the_counts_and_changes_nothing() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_as(&world, ACME, "bob", 3).await;
    let rows = audit_rows(&world).await.len();
    let mut directory = world.directory();

    let request = DeleteOrganizationRequest {
        validate_only: true,
        ..delete_organization_request()
    };
    let previewed = directory.delete_organization(request).await.unwrap();
    let previewed = previewed.into_inner();
    assert_eq!(previewed.revoked_invitation_count, 3);
    assert_eq!(previewed.deleted_membership_count, 3);
    let request = DeleteMembershipRequest {
        validate_only: true,
        ..delete_membership_request("bob")
    };
    let previewed = directory.delete_membership(request).await.unwrap();
    assert_eq!(previewed.into_inner().revoked_invitation_count, 3);
    let request = DeleteUserRequest {
        validate_only: true,
        ..delete_user_request("bob")
    };
    let previewed = directory.delete_user(request).await.unwrap().into_inner();
    assert_eq!(previewed.revoked_invitation_count, 3);
    assert_eq!(previewed.deleted_email_count, 1);
    let request = BulkDeleteUsersRequest {
        validate_only: true,
        ..bulk_delete_users_request(&["bob", "unknown"])
    };
    let previewed = directory
        .bulk_delete_users(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        outcomes(&previewed.results),
        ["DELETED", "FAILED user_id USER_NOT_FOUND"]
    );
    assert_eq!(previewed.revoked_invitation_count, 3);
    let request = BulkDeleteMembershipsRequest {
        validate_only: true,
        ..bulk_delete_memberships_request(&[(ACME, "bob")])
    };
    let previewed = directory.bulk_delete_memberships(request).await.unwrap();
    assert_eq!(previewed.into_inner().revoked_invitation_count, 3);
    let missing = DeleteUserRequest {
        validate_only: true,
        ..delete_user_request("unknown")
    };
    assert_missing(directory.delete_user(missing).await, "USER_NOT_FOUND");

    assert_eq!(world.get_membership("bob").await.unwrap().role(), "admin");
    let listed = world.list(list_request()).await;
    for invitation in &listed.invitations {
        assert_eq!(invitation.state(), InvitationState::Pending);
    }
    assert_eq!(audit_rows(&world).await.len(), rows);

    let deleted = world.delete_organization().await;
    assert_eq!(deleted.revoked_invitation_count, 3);
    assert_eq!(deleted.deleted_membership_count, 3);
}

#[tokio::test]
async fn users_are_deleted_in_bulk_with_a_result_for_each() {
    let world = World::start().await;
    invite_as(&world, ACME, "bob", 2).await;
    invite_as(&world, OTHER, "carl", 1).await;
    world.add_member(ACME, "carl", "member").await;
    let ids = ["bob", "unknown", "a b", "bob", "carl", ""];
    let mut directory = world.directory();
    let rows = audit_rows_of(&world, async {
        let request = bulk_delete_users_request(&ids);
        let answer = directory.bulk_delete_users(request).await.unwrap();
        let answer = answer.into_inner();
        let expected = [
            "DELETED",
            "FAILED user_id USER_NOT_FOUND",
            "FAILED user_id FIELD_INVALID",
            "FAILED user_id DUPLICATE_IN_REQUEST 0",
            "DELETED",
            "FAILED user_id FIELD_REQUIRED",
        ];
        assert_eq!(outcomes(&answer.results), expected);
        assert_eq!(answer.failed_count, 4);
        assert_eq!(answer.revoked_invitation_count, 3);
        assert_eq!(answer.deleted_membership_count, 3);
    })
    .await;
    assert!(rows.iter().all(|row| row.action == "delete_user"));
    assert_eq!(
        summaries(&rows),
        [
            ("", "", json!({"deleted": 3, "revoked": 3, "failed": 4})),
            (ACME, "", json!({"deleted": 2, "revoked": 2})),
            (OTHER, "carl", json!({"deleted": 1, "revoked": 1})),
        ]
    );
    assert_eq!(world.memberships(ACME).await.len(), 2);

    let request = BulkDeleteUsersRequest {
        allow_missing: true,
        ..bulk_delete_users_request(&["bob", "grace"])
    };
    let answer = directory.bulk_delete_users(request.clone()).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(outcomes(&answer.results), ["MISSING", "DELETED"]);
    assert_eq!(answer.failed_count, 0);
    let rows = audit_rows_of(&world, async {
        let again = directory.bulk_delete_users(request).await.unwrap();
        assert_eq!(outcomes(&again.into_inner().results), ["MISSING"; 2]);
    })
    .await;
    assert_eq!(rows, [], "nothing was changed");
}

#[tokio::test]
async fn memberships_are_deleted_in_bulk_with_a_result_for_each() {
    let world = World::start().await;
    invite_as(&world, ACME, "bob", 2).await;
    let mut directory = world.directory_of("acme-only");
    let keys = [
        (ACME, "bob"),
        (ACME, "unknown"),
        (OTHER, "eve"),
        ("unknown", "eve"),
        (ACME, "bob"),
        (ACME, "a b"),
        (ACME, "grace"),
    ];
    let rows = audit_rows_of(&world, async {
        let request = bulk_delete_memberships_request(&keys);
        let answer = directory.bulk_delete_memberships(request).await.unwrap();
        let answer = answer.into_inner();
        let expected = [
            "DELETED",
            "FAILED user_id MEMBERSHIP_NOT_FOUND",
            "FAILED organization_id ORGANIZATION_DENIED",
            "FAILED organization_id ORGANIZATION_DENIED",
            "FAILED user_id DUPLICATE_IN_REQUEST 0",
            "FAILED user_id FIELD_INVALID",
            "DELETED",
        ];
        assert_eq!(outcomes(&answer.results), expected);
        assert_eq!(
            (answer.failed_count, answer.revoked_invitation_count),
            (5, 2)
        );
    })
    .await;
    assert!(rows.iter().all(|row| row.action == "delete_membership"));
    assert_eq!(
        summaries(&rows),
        [
            ("", "", json!({"failed": 5})),
            (ACME, "", json!({"deleted": 2, "revoked": 2})),
        ]
    );
    assert_eq!(world.memberships(ACME).await.len(), 1);
    assert_eq!(world.memberships(OTHER).await.len(), 1);
    let request = BulkDeleteMembershipsRequest {
        allow_missing: true,
        ..bulk_delete_memberships_request(&[(ACME, "bob"), (ACME, "ada")])
    };
    let answer = directory.bulk_delete_memberships(request).await.unwrap();
    let results = answer.into_inner().results;
    assert_eq!(outcomes(&results), ["MISSING", "DELETED"]);
}

#[tokio::test]
async fn a_bulk_delete_takes_1_to_10_000_items() {
    let world = World::start().await;
    let mut directory = world.directory();
    let users = |count: usize| {
        let ids: Vec<String> = (0..count).map(|number| format!("u{number}")).collect();
        ids
    };
    let request = |ids: &[String]| {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        bulk_delete_users_request(&ids)
    };
    let answer = directory.bulk_delete_users(request(&[])).await;
    assert_eq!(reason(answer), "ITEMS_EMPTY");
    let answer = directory.bulk_delete_users(request(&users(10_001))).await;
    assert_eq!(reason(answer), "TOO_MANY_ITEMS");
    let answer = directory
        .bulk_delete_memberships(bulk_delete_memberships_request(&[]))
        .await;
    assert_eq!(reason(answer), "ITEMS_EMPTY");
    let keys = vec![(ACME, "ada"); 10_001];
    let answer = directory
        .bulk_delete_memberships(bulk_delete_memberships_request(&keys))
        .await;
    assert_eq!(reason(answer), "TOO_MANY_ITEMS");

    let ids = users(10_000);
    let new = ids.iter().map(|id| user(id, "", &[&format!("{id}@b.co")]));
    world.upsert_users(new.collect()).await;
    let members = ids.iter().map(|id| membership(ACME, id, ""));
    world.upsert_memberships(members.collect()).await;
    let answer = directory.bulk_delete_users(request(&ids)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(
        (answer.failed_count, answer.deleted_membership_count),
        (0, 10_000)
    );
    assert_eq!(world.count("users").await, 3);
    assert_eq!(world.count("user_emails").await, 3);
}
