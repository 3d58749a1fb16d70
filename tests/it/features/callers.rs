//! Who may call what, for whom, and what they are told.

use invitations::proto::{
    BulkCreateRequest, DeleteMembershipRequest, DeleteOrganizationRequest, DeleteUserRequest,
    EraseAddressRequest, GetMembershipRequest, GetRequest, ListMembershipsRequest, ListRequest,
    Membership, Organization, ResendRequest, RevokeRequest, UpsertMembershipsRequest,
    UpsertOrganizationsRequest, UpsertUsersRequest, User,
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::user_issuer::UserIssuer;
use crate::support::{ACME, OTHER, World, invite_request, reason};
use crate::support::{descriptors, raw_grpc};

/// How many methods the services have; a new one is covered by itself.
const METHODS: usize = 31;
const UNKNOWN_ID: &str = "019aacd0-0000-7000-8000-000000000001";

async fn call(world: &World, path: &str, token: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    raw_grpc::call(world.address(), path, &headers, message).await
}

/// Calls a method of `InvitationService` with a typed message, as somebody.
async fn invitations(
    world: &World,
    token: &str,
    method: &str,
    message: &impl Message,
) -> Result<Vec<u8>, Status> {
    let path = format!("/invitation.v1.InvitationService/{method}");
    call(world, &path, token, &message.encode_to_vec()).await
}

/// Calls a method of `DirectoryService` with a typed message, as somebody.
async fn directory(
    world: &World,
    token: &str,
    method: &str,
    message: &impl Message,
) -> Result<Vec<u8>, Status> {
    let path = format!("/invitation.v1.DirectoryService/{method}");
    call(world, &path, token, &message.encode_to_vec()).await
}

#[tokio::test]
async fn no_method_answers_a_stranger() {
    let world = World::start().await;
    let strangers: [&[(&str, &str)]; 5] = [
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
        for headers in strangers {
            let answer = raw_grpc::call(world.address(), &method.path, headers, &[]).await;
            let code = answer.as_ref().err().map(Status::code);
            let told = (code, reason(answer));
            let expected = (
                Some(Code::Unauthenticated),
                "CREDENTIALS_INVALID".to_owned(),
            );
            assert_eq!(told, expected, "{} {headers:?}", method.path);
        }
    }
}

#[tokio::test]
async fn every_method_asks_for_the_scope_its_comment_names() {
    let world = World::start().await;
    for method in descriptors::methods() {
        let token = format!("all-but-{}", method.scope);
        let status = call(&world, &method.path, &token, &[]).await.unwrap_err();
        let info = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!(status.code(), Code::PermissionDenied, "{}", method.path);
        assert_eq!(info.reason, "SCOPE_MISSING", "{}", method.path);
        assert_eq!(info.metadata["scope"], method.scope, "{}", method.path);
        // And for no other: whoever holds that one alone is let through to the next question.
        let token = format!("only-{}", method.scope);
        let answer = call(&world, &method.path, &token, &[]).await;
        let code = answer.err().map(|status| status.code());
        assert_ne!(code, Some(Code::PermissionDenied), "{}", method.path);
    }
    let request = BulkCreateRequest {
        return_link: true,
        ..invite_request(&["a@b.co"])
    };
    let answer = invitations(&world, "all-but-invitations:link", "BulkCreate", &request).await;
    let status = answer.unwrap_err();
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!(info.metadata["scope"], "invitations:link");
}

#[tokio::test]
async fn every_method_is_for_the_users_its_comment_names() {
    let accounts = UserIssuer::start().await;
    let world = World::builder().issuers(&accounts.table()).start().await;
    let ada = accounts.token(&world, "ada");
    let grace = accounts.token(&world, "grace");
    let unverified = accounts.unverified_token(&world, "ada");
    let mut counts = [0; 4];
    for method in descriptors::methods() {
        let path = &method.path;
        let told = async |token: &str, message: &[u8]| {
            let answer = call(&world, path, token, message).await;
            let status = answer.err();
            let code = status.as_ref().map_or(Code::Ok, Status::code);
            let bytes = status.as_ref().map(|status| status.details().to_vec());
            (
                code,
                status.map(|status| reason(Err::<(), _>(status))),
                bytes,
            )
        };
        let denied = |(code, reason, _): &(Code, Option<String>, Option<Vec<u8>>)| {
            (*code == Code::PermissionDenied).then(|| reason.clone().unwrap())
        };
        let in_acme = descriptors::of_organization(&method.input, ACME);
        let by_ada = denied(&told(&ada, &in_acme).await);
        let by_grace = told(&grace, &in_acme).await;
        match method.users.as_str() {
            "none" => {
                counts[0] += 1;
                assert_eq!(by_ada.as_deref(), Some("METHOD_DENIED"), "{path}");
            }
            "any" => {
                counts[1] += 1;
                let by_unverified = denied(&told(&unverified, &[]).await);
                assert_eq!((by_ada, by_unverified), (None, None), "{path}");
            }
            "the invited one" => {
                counts[2] += 1;
                let by_unverified = denied(&told(&unverified, &[]).await);
                let expected = Some("EMAIL_UNVERIFIED".to_owned());
                assert_eq!((by_ada, by_unverified), (None, expected), "{path}");
            }
            "an admin member of the organization" => {
                counts[3] += 1;
                assert_eq!(by_ada, None, "{path}");
                assert_eq!(denied(&by_grace).as_deref(), Some("ORGANIZATION_DENIED"));
                for organization_id in [OTHER, "unknown"] {
                    let message = descriptors::of_organization(&method.input, organization_id);
                    assert_eq!(told(&ada, &message).await, by_grace, "{path}");
                }
            }
            other => panic!("{path} is for users {other:?}, whoever that is"),
        }
    }
    assert_eq!(counts, [METHODS - 13, 1, 2, 10]);
}

#[tokio::test]
async fn a_foreign_organization_is_refused_as_an_unknown_one_is() {
    let world = World::start().await;
    let methods = descriptors::methods();
    let concerned = methods
        .iter()
        .filter(|method| descriptors::names_organization(&method.input));
    let mut count = 0;
    for method in concerned {
        count += 1;
        let mut told = Vec::new();
        for organization_id in [ACME, "unknown"] {
            let message = descriptors::filled(&method.input, "x", organization_id);
            let answer = call(&world, &method.path, "other-only", &message).await;
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{}", method.path);
            told.push((status.message().to_owned(), status.details().to_vec()));
            let reason = reason(Err::<(), _>(status));
            assert_eq!(reason, "ORGANIZATION_DENIED", "{}", method.path);
        }
        assert_eq!(told[0], told[1], "{}", method.path);
    }
    assert_eq!(count, 21);
}

#[tokio::test]
async fn whoever_may_see_everything_is_told_what_is_not_there() {
    let world = World::start().await;
    let (organization_id, invitation_id) = ("unknown".to_owned(), UNKNOWN_ID.to_owned());
    let user_id = "ada".to_owned();
    let bulk_create = BulkCreateRequest {
        organization_id: organization_id.clone(),
        ..invite_request(&["a@b.co"])
    };
    let list = ListRequest {
        organization_id: organization_id.clone(),
        ..Default::default()
    };
    let get = GetRequest {
        organization_id: organization_id.clone(),
        invitation_id: invitation_id.clone(),
    };
    let revoke = RevokeRequest {
        organization_id: organization_id.clone(),
        invitation_id: invitation_id.clone(),
        user_id: String::new(),
    };
    let resend = ResendRequest {
        organization_id: organization_id.clone(),
        invitation_id,
        ..Default::default()
    };
    let list_memberships = ListMembershipsRequest {
        organization_id: organization_id.clone(),
        ..Default::default()
    };
    let get_membership = GetMembershipRequest {
        organization_id: organization_id.clone(),
        user_id: user_id.clone(),
    };
    let delete_membership = DeleteMembershipRequest {
        organization_id: organization_id.clone(),
        user_id,
    };
    let delete_organization = DeleteOrganizationRequest { organization_id };
    let all = "all";
    for (answer, expected) in [
        (
            invitations(&world, all, "BulkCreate", &bulk_create).await,
            "ORGANIZATION_NOT_FOUND",
        ),
        (
            invitations(&world, all, "List", &list).await,
            "ORGANIZATION_NOT_FOUND",
        ),
        (
            invitations(&world, all, "Get", &get).await,
            "INVITATION_NOT_FOUND",
        ),
        (
            invitations(&world, all, "Revoke", &revoke).await,
            "INVITATION_NOT_FOUND",
        ),
        (
            invitations(&world, all, "Resend", &resend).await,
            "INVITATION_NOT_FOUND",
        ),
        (
            directory(&world, all, "ListMemberships", &list_memberships).await,
            "ORGANIZATION_NOT_FOUND",
        ),
        (
            directory(&world, all, "GetMembership", &get_membership).await,
            "MEMBERSHIP_NOT_FOUND",
        ),
        (
            directory(&world, all, "DeleteMembership", &delete_membership).await,
            "MEMBERSHIP_NOT_FOUND",
        ),
        (
            directory(&world, all, "DeleteOrganization", &delete_organization).await,
            "ORGANIZATION_NOT_FOUND",
        ),
    ] {
        let code = answer.as_ref().err().map(Status::code);
        assert_eq!(
            (code, reason(answer).as_str()),
            (Some(Code::NotFound), expected)
        );
    }
}

#[tokio::test]
async fn a_limited_caller_changes_nothing_outside_its_organizations() {
    let world = World::start().await;
    let user = |id: &str| User {
        id: id.to_owned(),
        ..Default::default()
    };
    let users = UpsertUsersRequest {
        users: vec![user("ada")],
    };
    let user_id = "ada".to_owned();
    let user = DeleteUserRequest { user_id };
    let address = EraseAddressRequest {
        email: "ada@example.com".to_owned(),
        suppress: true,
    };
    for answer in [
        directory(&world, "acme-only", "UpsertUsers", &users).await,
        directory(&world, "acme-only", "DeleteUser", &user).await,
        directory(&world, "acme-only", "EraseAddress", &address).await,
    ] {
        let code = answer.as_ref().err().map(Status::code);
        let told = (code, reason(answer));
        assert_eq!(
            told,
            (
                Some(Code::PermissionDenied),
                "ORGANIZATION_DENIED".to_owned()
            )
        );
    }

    let organization = |id: &str| Organization {
        id: id.to_owned(),
        name: "Renamed".to_owned(),
        ..Default::default()
    };
    let organizations = UpsertOrganizationsRequest {
        organizations: vec![organization(ACME), organization(OTHER), organization("new")],
    };
    let mut client = world.directory_of("acme-only");
    let answer = client.upsert_organizations(organizations).await.unwrap();
    assert_eq!(errors(answer.into_inner().results), ["", DENIED, DENIED]);
    let membership = |organization_id: &str| Membership {
        organization_id: organization_id.to_owned(),
        user_id: "grace".to_owned(),
        ..Default::default()
    };
    let memberships = UpsertMembershipsRequest {
        memberships: vec![membership(ACME), membership(OTHER), membership("new")],
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
