//! Reading organizations and users: what is returned, for whom, and in which pages.

use invitations::proto::{
    GetOrganizationRequest, GetUserRequest, ListOrganizationsRequest, ListOrganizationsResponse,
    ListUsersRequest, ListUsersResponse, Organization, ResumeOrganizationRequest,
    SuspendOrganizationRequest, User,
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};

use crate::support::directory::{organization, roles_named, user};
use crate::support::{ACME, OTHER, START, World, reason, status_reason};

/// A time after the start of the test.
fn after_start(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: START.unix_timestamp() + seconds,
        nanos: 0,
    }
}

async fn get_organization(world: &World, caller: &str, id: &str) -> Result<Organization, Status> {
    let request = GetOrganizationRequest {
        organization_id: id.to_owned(),
    };
    let answer = world.directory_of(caller).get_organization(request).await;
    answer.map(|answer| answer.into_inner().organization.unwrap())
}

async fn get_user(world: &World, caller: &str, id: &str) -> Result<User, Status> {
    let request = GetUserRequest {
        user_id: id.to_owned(),
    };
    let answer = world.directory_of(caller).get_user(request).await;
    answer.map(|answer| answer.into_inner().user.unwrap())
}

async fn list_organizations(
    world: &World,
    caller: &str,
    request: ListOrganizationsRequest,
) -> Result<ListOrganizationsResponse, Status> {
    let answer = world.directory_of(caller).list_organizations(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn list_users(
    world: &World,
    caller: &str,
    request: ListUsersRequest,
) -> Result<ListUsersResponse, Status> {
    let answer = world.directory_of(caller).list_users(request).await;
    answer.map(tonic::Response::into_inner)
}

fn organization_ids(page: &ListOrganizationsResponse) -> Vec<&str> {
    let organizations = page.organizations.iter();
    organizations.map(|found| found.id.as_str()).collect()
}

fn user_ids(page: &ListUsersResponse) -> Vec<&str> {
    page.users.iter().map(|found| found.id.as_str()).collect()
}

#[tokio::test]
async fn an_organization_is_returned_as_it_was_written() {
    let world = World::start().await;
    world.clock.advance(time::Duration::SECOND);
    let written = Organization {
        roles: roles_named(&["admin", "viewer"]),
        default_role: Some("viewer".to_owned()),
        allowed_email_domains: vec!["example.com".to_owned()],
        redirect_origins: vec!["https://app.example.com".to_owned()],
        locale: Some("de".to_owned()),
        recheck_inviter: Some(true),
        reminder_lead: Some(Duration {
            seconds: 86_400,
            nanos: 0,
        }),
        logo_url: Some("https://cdn.example.com/logo.png".to_owned()),
        brand_color: Some("#0f766e".to_owned()),
        support_email: Some("help@example.com".to_owned()),
        ..organization("new", "New")
    };
    world.upsert_organization(written.clone()).await;
    let mut expected = written;
    expected.roles[0].can_invite = true;
    expected.create_time = Some(after_start(1));
    expected.update_time = Some(after_start(1));
    let found = get_organization(&world, "all", "new").await.unwrap();
    assert!(found == expected);

    // Fields that are not set are returned as their defaults, and times tell what happened since.
    world.clock.advance(time::Duration::SECOND);
    let expected = Organization {
        roles: roles_named(&["admin", "member"]),
        default_role: Some("member".to_owned()),
        recheck_inviter: Some(false),
        create_time: Some(after_start(2)),
        update_time: Some(after_start(2)),
        ..organization("plain", "Plain")
    };
    world
        .upsert_organization(organization("plain", "Plain"))
        .await;
    let mut found = get_organization(&world, "all", "plain").await.unwrap();
    found
        .roles
        .iter_mut()
        .for_each(|role| role.can_invite = false);
    assert!(found == expected);
    world.clock.advance(time::Duration::SECOND);
    world
        .upsert_organization(organization("plain", "Renamed"))
        .await;
    let found = get_organization(&world, "all", "plain").await.unwrap();
    assert_eq!(found.name(), "Renamed");
    assert_eq!(
        (found.create_time, found.update_time),
        (Some(after_start(2)), Some(after_start(3)))
    );
}

#[tokio::test]
async fn suspended_and_deleted_organizations_are_returned_with_their_times() {
    let world = World::start().await;
    let mut directory = world.directory();
    let times = async || {
        let found = get_organization(&world, "all", ACME).await.unwrap();
        (found.suspend_time, found.delete_time)
    };
    assert_eq!(times().await, (None, None));
    world.clock.advance(time::Duration::SECOND);
    let suspend = SuspendOrganizationRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    directory.suspend_organization(suspend).await.unwrap();
    assert_eq!(times().await, (Some(after_start(1)), None));
    let resume = ResumeOrganizationRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    directory.resume_organization(resume).await.unwrap();
    assert_eq!(times().await, (None, None));
    world.clock.advance(time::Duration::SECOND);
    world.delete_organization().await;
    assert_eq!(times().await, (None, Some(after_start(2))));
}

#[tokio::test]
async fn organizations_are_listed_in_pages_in_the_order_of_their_bytes() {
    let world = World::start().await;
    for id in ["b", "a-b", "aB", "ab", "Z"] {
        world.upsert_organization(organization(id, "Name")).await;
    }
    let request = |page_size, page_token: &str, show_deleted| ListOrganizationsRequest {
        page_size,
        page_token: page_token.to_owned(),
        show_deleted,
    };
    let ordered = ["Z", "a-b", "aB", "ab", ACME, "b", OTHER];
    let (mut token, mut listed, mut sizes) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = list_organizations(&world, "all", request(3, &token, false))
            .await
            .unwrap();
        sizes.push(page.organizations.len());
        listed.extend(organization_ids(&page).into_iter().map(str::to_owned));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(
        (listed, sizes),
        (ordered.map(str::to_owned).to_vec(), vec![3, 3, 1])
    );

    world.delete_organization().await;
    let list = async |show_deleted| {
        let answer = list_organizations(&world, "all", request(0, "", show_deleted)).await;
        answer.unwrap()
    };
    assert_eq!(organization_ids(&list(true).await), ordered);
    let kept = list(false).await;
    assert_eq!(
        organization_ids(&kept),
        ["Z", "a-b", "aB", "ab", "b", OTHER]
    );

    let first = list_organizations(&world, "all", request(1, "", false))
        .await
        .unwrap();
    for (size, token, show_deleted, expected) in [
        (
            1,
            first.next_page_token.as_str(),
            true,
            "PAGE_TOKEN_INVALID",
        ),
        (1, "x", false, "PAGE_TOKEN_INVALID"),
        (-1, "", false, "FIELD_INVALID"),
    ] {
        let answer = list_organizations(&world, "all", request(size, token, show_deleted)).await;
        assert_eq!(reason(answer), expected);
    }
}

#[tokio::test]
async fn a_limited_caller_sees_only_its_organizations_and_no_users() {
    let world = World::start().await;
    let all = || ListOrganizationsRequest {
        show_deleted: true,
        ..Default::default()
    };
    let page = list_organizations(&world, "other-only", all())
        .await
        .unwrap();
    assert_eq!(organization_ids(&page), [OTHER]);
    assert_eq!(page.next_page_token, "");
    assert_eq!(
        get_organization(&world, "other-only", OTHER)
            .await
            .unwrap()
            .name(),
        "Other Works"
    );
    for id in [ACME, "unknown"] {
        let answer = get_organization(&world, "other-only", id).await;
        assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    }
    let answer = get_user(&world, "other-only", "eve").await;
    assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    let answer = list_users(&world, "other-only", ListUsersRequest::default()).await;
    assert_eq!(reason(answer), "ORGANIZATION_DENIED");

    let missing = get_organization(&world, "all", "unknown")
        .await
        .err()
        .unwrap();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(status_reason(&missing), "ORGANIZATION_NOT_FOUND");
    let missing = get_user(&world, "all", "unknown").await.err().unwrap();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(status_reason(&missing), "USER_NOT_FOUND");
}

#[tokio::test]
async fn a_user_is_returned_with_normalized_addresses_and_times() {
    let world = World::start().await;
    world.clock.advance(time::Duration::SECOND);
    world
        .add_user("u", "Name", &["Z@Example.com", "a@b.co"])
        .await;
    let found = get_user(&world, "all", "u").await.unwrap();
    let expected = User {
        create_time: Some(after_start(1)),
        update_time: Some(after_start(1)),
        ..user("u", "Name", &["a@b.co", "z@example.com"])
    };
    assert!(found == expected);
    // A user who loses an address was changed.
    world.clock.advance(time::Duration::SECOND);
    world.erase_address("a@b.co", false).await;
    let found = get_user(&world, "all", "u").await.unwrap();
    assert_eq!(found.verified_emails, ["z@example.com"]);
    assert_eq!(
        (found.name(), found.update_time),
        ("Name", Some(after_start(2)))
    );
    world.erase_address("z@example.com", false).await;
    let found = get_user(&world, "all", "u").await.unwrap();
    assert_eq!((found.name, found.verified_emails.len()), (None, 0));
}

#[tokio::test]
async fn users_are_listed_in_pages_and_by_verified_address() {
    let world = World::start().await;
    let shared: Vec<User> = ["u3", "u1", "U2"]
        .map(|id| user(id, "", &["shared@b.co", &format!("{id}@b.co")]))
        .into();
    world.upsert_users(shared).await;
    let request = |page_size, page_token: &str, verified_email: &str| ListUsersRequest {
        page_size,
        page_token: page_token.to_owned(),
        verified_email: verified_email.to_owned(),
    };
    let list = async |page_size, page_token: &str, verified_email: &str| {
        list_users(
            &world,
            "all",
            request(page_size, page_token, verified_email),
        )
        .await
    };
    let first = list(4, "", "").await.unwrap();
    assert_eq!(user_ids(&first), ["U2", "ada", "eve", "grace"]);
    let second = list(4, &first.next_page_token, "").await.unwrap();
    assert_eq!(user_ids(&second), ["u1", "u3"]);
    assert_eq!(second.next_page_token, "");

    let first = list(2, "", "Shared@B.co").await.unwrap();
    assert_eq!(user_ids(&first), ["U2", "u1"]);
    assert_eq!(first.users[1].verified_emails, ["shared@b.co", "u1@b.co"]);
    let second = list(2, &first.next_page_token, "Shared@B.co")
        .await
        .unwrap();
    assert_eq!(user_ids(&second), ["u3"]);
    assert_eq!(
        user_ids(&list(0, "", "nobody@b.co").await.unwrap()),
        [""; 0]
    );
    for (size, token, email, expected) in [
        (2, first.next_page_token.as_str(), "", "PAGE_TOKEN_INVALID"),
        (-1, "", "", "FIELD_INVALID"),
        (0, "", "nobody", "EMAIL_INVALID"),
        (0, "", "\u{e9}@b.co", "EMAIL_UNSUPPORTED"),
    ] {
        assert_eq!(reason(list(size, token, email).await), expected);
    }
}
