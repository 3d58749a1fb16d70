//! Who asked for a change of the directory: the acting user and the request id of a call, in the audit log.

use invitations::proto::{
    EraseAddressRequest, ResumeOrganizationRequest, SuspendOrganizationRequest,
    UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertUsersRequest,
};
use tonic::Status;

use crate::support::audit::audit_rows_of;
use crate::support::directory::{membership, organization, user};
use crate::support::{
    ACME, UNKNOWN_ID, World, bulk_delete_memberships_request, bulk_delete_users_request,
    delete_membership_request, delete_organization_request, delete_user_request, field_violations,
};

/// A request with a user who asked for it and a request id.
macro_rules! named {
    ($request:expr, $user_id:expr, $request_id:expr) => {{
        let mut request = $request;
        $user_id.clone_into(&mut request.acting_user_id);
        $request_id.clone_into(&mut request.request_id);
        request
    }};
}

/// Calls every method of the directory that changes something. Returns the answers without their content.
async fn change_everything(
    world: &World,
    user_id: &str,
    request_id: &str,
) -> Vec<Result<(), Status>> {
    let mut directory = world.directory();
    let organization_id = ACME.to_owned();
    let organizations = UpsertOrganizationsRequest {
        organizations: vec![organization(ACME, "Acme")],
        ..Default::default()
    };
    let users = UpsertUsersRequest {
        users: vec![user("bob", "Bob", &["bob@b.co"]), user("carl", "", &[])],
        ..Default::default()
    };
    let memberships = UpsertMembershipsRequest {
        memberships: vec![membership(ACME, "bob", ""), membership(ACME, "carl", "")],
        ..Default::default()
    };
    let suspend = SuspendOrganizationRequest {
        organization_id: organization_id.clone(),
        ..Default::default()
    };
    let resume = ResumeOrganizationRequest {
        organization_id,
        ..Default::default()
    };
    let erase = EraseAddressRequest {
        email: "bob@b.co".to_owned(),
        suppress: true,
        ..Default::default()
    };
    let (grace, ada) = (
        delete_membership_request("grace"),
        delete_user_request("ada"),
    );
    let keys = bulk_delete_memberships_request(&[(ACME, "carl")]);
    let ids = bulk_delete_users_request(&["bob"]);
    let deleted = delete_organization_request();
    macro_rules! call {
        ($method:ident, $request:expr) => {{
            let request = named!($request, user_id, request_id);
            directory.$method(request).await.map(drop)
        }};
    }
    vec![
        call!(upsert_organizations, organizations),
        call!(upsert_users, users),
        call!(upsert_memberships, memberships),
        call!(suspend_organization, suspend),
        call!(resume_organization, resume),
        call!(erase_address, erase),
        call!(delete_membership, grace),
        call!(delete_user, ada),
        call!(bulk_delete_memberships, keys),
        call!(bulk_delete_users, ids),
        call!(delete_organization, deleted),
    ]
}

#[tokio::test]
async fn the_acting_user_and_the_request_id_are_kept_in_the_audit_log() {
    let world = World::start().await;
    let rows = audit_rows_of(&world, async {
        for answer in change_everything(&world, "operator", UNKNOWN_ID).await {
            answer.unwrap();
        }
    })
    .await;
    for row in &rows {
        assert_eq!(
            row.on_behalf_of_user_id.as_deref(),
            Some("operator"),
            "{}",
            row.action
        );
        let request_id = row.request_id.map(|id| id.to_string());
        assert_eq!(request_id.as_deref(), Some(UNKNOWN_ID), "{}", row.action);
    }
    let mut actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    actions.dedup();
    let expected = [
        "upsert_organizations",
        "upsert_users",
        "upsert_memberships",
        "suspend_organization",
        "resume_organization",
        "erase_address",
        "delete_membership",
        "delete_user",
        "delete_membership",
        "delete_user",
        "delete_organization",
    ];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn a_malformed_acting_user_or_request_id_is_refused() {
    let world = World::start().await;
    let rows = audit_rows_of(&world, async {
        for answer in change_everything(&world, "a b", "x").await {
            let violations = field_violations(&answer.unwrap_err());
            let expected = [
                ("acting_user_id", "FIELD_INVALID"),
                ("request_id", "REQUEST_ID_INVALID"),
            ];
            let expected = expected.map(|(field, reason)| (field.to_owned(), reason.to_owned()));
            assert_eq!(violations, expected);
        }
    })
    .await;
    assert_eq!(rows, []);
}
