//! Which callers may call which methods for which organizations, and what a refusal tells them.

use invitations::proto::{
    BulkCreateRequest, DeleteMembershipRequest, DeleteOrganizationRequest, DeleteUserRequest,
    EraseAddressRequest, GetMembershipRequest, GetRequest, ListMembershipsRequest, ListRequest,
    ResendRequest, RevokeRequest, UpsertMembershipsRequest, UpsertOrganizationsRequest,
    UpsertUsersRequest,
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::directory::{membership, organization, user};
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    ACME, OTHER, UNKNOWN_ID, World, delete_membership_request, descriptors, get_membership_request,
    get_request, invite_request, raw_grpc, resend_request, revoke_request, status_reason,
};

/// The number of methods. The tests cover a new method without a change.
const METHODS: usize = 38;

async fn call_with_token(
    world: &World,
    path: &str,
    token: &str,
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    raw_grpc::call(world.address(), path, &headers, message).await
}

/// Calls a method such as `InvitationService/Get` with a typed message.
async fn call_typed(
    world: &World,
    token: &str,
    method: &str,
    message: &impl Message,
) -> Result<Vec<u8>, Status> {
    let path = format!("/invitation.v1.{method}");
    call_with_token(world, &path, token, &message.encode_to_vec()).await
}

#[tokio::test]
async fn every_method_refuses_calls_without_valid_credentials() {
    let world = World::start().await;
    let invalid_credentials: [&[(&str, &str)]; 5] = [
        &[],
        &[("authorization", "Basic YWxsOmFsbA==")],
        &[("authorization", "Bearer nobody")],
        &[("authorization", "all")],
        &[
            ("authorization", "Bearer all"),
            ("authorization", "Bearer all"),
        ],
    ];
    let methods = descriptors::methods();
    assert_eq!(methods.len(), METHODS);
    for method in methods {
        for headers in invalid_credentials {
            let answer = raw_grpc::call(world.address(), &method.path, headers, &[]).await;
            let status = answer.unwrap_err();
            let refusal = (status.code(), status_reason(&status));
            let expected = (Code::Unauthenticated, "CREDENTIALS_INVALID".to_owned());
            assert_eq!(refusal, expected, "{} {headers:?}", method.path);
        }
    }
}

#[tokio::test]
async fn every_method_requires_the_scope_that_its_comment_names() {
    let world = World::start().await;
    for method in descriptors::methods() {
        let token = format!("all-but-{}", method.scope);
        let status = call_with_token(&world, &method.path, &token, &[])
            .await
            .unwrap_err();
        let info = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!(status.code(), Code::PermissionDenied, "{}", method.path);
        assert_eq!(info.reason, "SCOPE_MISSING", "{}", method.path);
        assert_eq!(info.metadata["scope"], method.scope, "{}", method.path);
        // No other scope is required: a caller with only this scope gets past the check.
        let token = format!("only-{}", method.scope);
        let answer = call_with_token(&world, &method.path, &token, &[]).await;
        let code = answer.err().map(|status| status.code());
        assert_ne!(code, Some(Code::PermissionDenied), "{}", method.path);
    }
    let request = BulkCreateRequest {
        return_link: true,
        ..invite_request(&["a@b.co"])
    };
    let answer = call_typed(
        &world,
        "all-but-invitations:link",
        "InvitationService/BulkCreate",
        &request,
    )
    .await;
    let status = answer.unwrap_err();
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!(info.metadata["scope"], "invitations:link");
}

/// The methods that a caller with only this scope may call, sorted.
async fn methods_of_scope(world: &World, scope: &str) -> Vec<String> {
    let mut admitted = Vec::new();
    for method in descriptors::methods() {
        let answer = call_with_token(world, &method.path, &format!("only-{scope}"), &[]).await;
        let is_denied = answer.is_err_and(|status| {
            status.code() == Code::PermissionDenied && status_reason(&status) == "SCOPE_MISSING"
        });
        if !is_denied {
            let (_, name) = method.path.rsplit_once('/').unwrap();
            admitted.push(name.to_owned());
        }
    }
    admitted.sort();
    admitted
}

#[tokio::test]
async fn the_scopes_of_administration_admit_exactly_their_methods() {
    let world = World::start().await;
    let expected: [(&str, &[&str]); 7] = [
        (
            "directory:admin",
            &[
                "BulkDeleteMemberships",
                "BulkDeleteUsers",
                "DeleteMembership",
                "DeleteOrganization",
                "DeleteUser",
                "EraseAddress",
                "ResumeOrganization",
                "SuspendOrganization",
            ],
        ),
        (
            "directory:write",
            &["UpsertMemberships", "UpsertOrganizations", "UpsertUsers"],
        ),
        (
            "directory:read",
            &[
                "GetMembership",
                "GetOrganization",
                "GetUser",
                "ListMemberships",
                "ListOrganizations",
                "ListUsers",
            ],
        ),
        (
            "suppressions:write",
            &["AddSuppressions", "LiftSuppressions"],
        ),
        ("suppressions:read", &["ListSuppressions"]),
        ("feedback:write", &["ReportBounce"]),
        ("audit:read", &["ListAuditEvents"]),
    ];
    for (scope, methods) in expected {
        assert_eq!(methods_of_scope(&world, scope).await, methods, "{scope}");
    }
}

#[tokio::test]
async fn every_method_admits_the_users_that_its_comment_names() {
    let accounts = UserIssuer::start().await;
    let world = World::builder().issuers(&accounts.table()).start().await;
    let ada = accounts.token(&world, "ada");
    let grace = accounts.token(&world, "grace");
    let unverified = accounts.unverified_token(&world, "ada");
    let mut counts = [0; 4];
    for method in descriptors::methods() {
        let path = &method.path;
        let call = async |token: &str, message: &[u8]| {
            let answer = call_with_token(&world, path, token, message).await;
            let status = answer.err();
            let code = status.as_ref().map_or(Code::Ok, Status::code);
            let bytes = status.as_ref().map(|status| status.details().to_vec());
            (code, status.as_ref().map(status_reason), bytes)
        };
        let denied = |(code, reason, _): &(Code, Option<String>, Option<Vec<u8>>)| {
            (*code == Code::PermissionDenied).then(|| reason.clone().unwrap())
        };
        let in_acme = descriptors::of_organization(&method.input, ACME);
        let by_ada = denied(&call(&ada, &in_acme).await);
        let by_grace = call(&grace, &in_acme).await;
        match method.users.as_str() {
            "none" => {
                counts[0] += 1;
                assert_eq!(by_ada.as_deref(), Some("METHOD_DENIED"), "{path}");
            }
            "any" => {
                counts[1] += 1;
                let by_unverified = denied(&call(&unverified, &[]).await);
                assert_eq!((by_ada, by_unverified), (None, None), "{path}");
            }
            "the invited one" => {
                counts[2] += 1;
                let by_unverified = denied(&call(&unverified, &[]).await);
                let expected = Some("EMAIL_UNVERIFIED".to_owned());
                assert_eq!((by_ada, by_unverified), (None, expected), "{path}");
            }
            "an inviting member" => {
                counts[3] += 1;
                assert_eq!(by_ada, None, "{path}");
                assert_eq!(denied(&by_grace).as_deref(), Some("ORGANIZATION_DENIED"));
                for organization_id in [OTHER, "unknown"] {
                    let message = descriptors::of_organization(&method.input, organization_id);
                    assert_eq!(call(&ada, &message).await, by_grace, "{path}");
                }
            }
            other => panic!("{path} is for unknown users: {other:?}"),
        }
    }
    assert_eq!(counts, [METHODS - 14, 1, 2, 11]);
}

#[tokio::test]
async fn a_foreign_organization_is_refused_in_the_same_way_as_an_unknown_one() {
    let world = World::start().await;
    let methods = descriptors::methods();
    let with_organization = methods
        .iter()
        .filter(|method| descriptors::names_organization(&method.input));
    let mut count = 0;
    for method in with_organization {
        count += 1;
        let mut refusals = Vec::new();
        for organization_id in [ACME, "unknown"] {
            let message = descriptors::filled(&method.input, "x", organization_id);
            let answer = call_with_token(&world, &method.path, "other-only", &message).await;
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{}", method.path);
            refusals.push((status.message().to_owned(), status.details().to_vec()));
            assert_eq!(
                status_reason(&status),
                "ORGANIZATION_DENIED",
                "{}",
                method.path
            );
        }
        assert_eq!(refusals[0], refusals[1], "{}", method.path);
    }
    assert_eq!(count, 23);
}

#[tokio::test]
async fn a_caller_for_all_organizations_learns_what_does_not_exist() {
    let world = World::start().await;
    let organization_id = || "unknown".to_owned();
    let bulk_create = BulkCreateRequest {
        organization_id: organization_id(),
        ..invite_request(&["a@b.co"])
    };
    let list = ListRequest {
        organization_id: organization_id(),
        ..Default::default()
    };
    let get = GetRequest {
        organization_id: organization_id(),
        ..get_request(UNKNOWN_ID)
    };
    let revoke = RevokeRequest {
        organization_id: organization_id(),
        ..revoke_request(UNKNOWN_ID)
    };
    let resend = ResendRequest {
        organization_id: organization_id(),
        ..resend_request(UNKNOWN_ID)
    };
    let list_memberships = ListMembershipsRequest {
        organization_id: organization_id(),
        ..Default::default()
    };
    let get_membership = GetMembershipRequest {
        organization_id: organization_id(),
        ..get_membership_request("ada")
    };
    let delete_membership = DeleteMembershipRequest {
        organization_id: organization_id(),
        ..delete_membership_request("ada")
    };
    let delete_organization = DeleteOrganizationRequest {
        organization_id: organization_id(),
        ..Default::default()
    };
    let no_organization = "ORGANIZATION_NOT_FOUND";
    let no_invitation = "INVITATION_NOT_FOUND";
    let no_membership = "MEMBERSHIP_NOT_FOUND";
    for (service, method, message, expected) in [
        (
            "Invitation",
            "BulkCreate",
            bulk_create.encode_to_vec(),
            no_organization,
        ),
        ("Invitation", "List", list.encode_to_vec(), no_organization),
        ("Invitation", "Get", get.encode_to_vec(), no_invitation),
        (
            "Invitation",
            "Revoke",
            revoke.encode_to_vec(),
            no_invitation,
        ),
        (
            "Invitation",
            "Resend",
            resend.encode_to_vec(),
            no_invitation,
        ),
        (
            "Directory",
            "ListMemberships",
            list_memberships.encode_to_vec(),
            no_organization,
        ),
        (
            "Directory",
            "GetMembership",
            get_membership.encode_to_vec(),
            no_membership,
        ),
        (
            "Directory",
            "DeleteMembership",
            delete_membership.encode_to_vec(),
            no_membership,
        ),
        (
            "Directory",
            "DeleteOrganization",
            delete_organization.encode_to_vec(),
            no_organization,
        ),
    ] {
        let path = format!("/invitation.v1.{service}Service/{method}");
        let status = call_with_token(&world, &path, "all", &message)
            .await
            .unwrap_err();
        let refusal = (status.code(), status_reason(&status));
        assert_eq!(refusal, (Code::NotFound, expected.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_caller_for_one_organization_changes_nothing_outside_of_it() {
    let world = World::start().await;
    let users = UpsertUsersRequest {
        users: vec![user("ada", "", &[])],
        ..Default::default()
    };
    let deleted = DeleteUserRequest {
        user_id: "ada".to_owned(),
        ..Default::default()
    };
    let address = EraseAddressRequest {
        email: "ada@example.com".to_owned(),
        suppress: true,
        ..Default::default()
    };
    for answer in [
        call_typed(&world, "acme-only", "DirectoryService/UpsertUsers", &users).await,
        call_typed(&world, "acme-only", "DirectoryService/DeleteUser", &deleted).await,
        call_typed(
            &world,
            "acme-only",
            "DirectoryService/EraseAddress",
            &address,
        )
        .await,
    ] {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status_reason(&status), "ORGANIZATION_DENIED");
    }

    let organizations = [ACME, OTHER, "new"].map(|id| organization(id, "Renamed"));
    let organizations = UpsertOrganizationsRequest {
        organizations: organizations.into(),
        ..Default::default()
    };
    let mut client = world.directory_of("acme-only");
    let answer = client.upsert_organizations(organizations).await.unwrap();
    assert_eq!(errors(answer.into_inner().results), ["", DENIED, DENIED]);
    let memberships = [ACME, OTHER, "new"].map(|id| membership(id, "grace", ""));
    let memberships = UpsertMembershipsRequest {
        memberships: memberships.into(),
        ..Default::default()
    };
    let answer = client.upsert_memberships(memberships).await.unwrap();
    assert_eq!(errors(answer.into_inner().results), ["", DENIED, DENIED]);
    let mut database = world.database().await;
    let seen: (String, i64, i64) = sqlx::query_as(
        "SELECT (SELECT name FROM organizations WHERE id = 'other'), (SELECT count(*) FROM organizations),
                (SELECT count(*) FROM memberships)",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(seen, ("Other Works".to_owned(), 2, 3));
}

const DENIED: &str = "ERROR_REASON_ORGANIZATION_DENIED";

fn errors(results: Vec<invitations::proto::UpsertResult>) -> Vec<&'static str> {
    let reason_of = |error: invitations::proto::ItemError| error.reason().as_str_name();
    results
        .into_iter()
        .map(|result| result.error.map(reason_of).unwrap_or_default())
        .collect()
}
