//! The directory: what other systems tell of organizations, users and memberships.

use invitations::proto::{
    ErrorReason, ItemError, Membership, Organization, UpsertMembershipsRequest,
    UpsertOrganizationsRequest, UpsertOutcome, UpsertResult, UpsertUsersRequest, User,
};
use tonic::Code;

use crate::features::memberships::{get_membership, membership, text_metadata};
use crate::support::{ACME, OTHER, World, created, item_reason, reason};

pub(crate) fn organization(id: &str, name: &str) -> Organization {
    Organization {
        id: id.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    }
}

fn user(id: &str, name: &str, emails: &[&str]) -> User {
    User {
        id: id.to_owned(),
        name: name.to_owned(),
        verified_emails: emails.iter().map(|email| (*email).to_owned()).collect(),
    }
}

pub(crate) async fn upsert_organizations(
    world: &World,
    organizations: Vec<Organization>,
) -> Vec<UpsertResult> {
    let request = UpsertOrganizationsRequest { organizations };
    let answer = world.directory().upsert_organizations(request).await;
    checked(answer.unwrap().into_inner().results)
}

async fn upsert_users(world: &World, users: Vec<User>) -> Vec<UpsertResult> {
    let request = UpsertUsersRequest { users };
    let answer = world.directory().upsert_users(request).await.unwrap();
    checked(answer.into_inner().results)
}

pub(crate) async fn upsert_memberships(
    world: &World,
    memberships: Vec<Membership>,
) -> Vec<UpsertResult> {
    let request = UpsertMembershipsRequest { memberships };
    let answer = world.directory().upsert_memberships(request).await;
    checked(answer.unwrap().into_inner().results)
}

/// One result for each item, in order, with an error where it failed and nowhere else.
fn checked(results: Vec<UpsertResult>) -> Vec<UpsertResult> {
    for (index, result) in (0..).zip(&results) {
        let is_failed = result.outcome() == UpsertOutcome::Failed;
        assert_eq!((result.index, result.error.is_some()), (index, is_failed));
    }
    results
}

pub(crate) fn outcomes(results: &[UpsertResult]) -> Vec<UpsertOutcome> {
    results.iter().map(UpsertResult::outcome).collect()
}

fn error(result: &UpsertResult) -> &ItemError {
    result
        .error
        .as_ref()
        .expect("the item was expected to fail")
}

/// Every rule an item breaks, as `field REASON`.
pub(crate) fn violations(result: &UpsertResult) -> Vec<String> {
    let violations = error(result).violations.iter();
    let name = |reason: ErrorReason| reason.as_str_name().replace("ERROR_REASON_", "");
    violations
        .map(|violation| format!("{} {}", violation.field, name(violation.reason())))
        .collect()
}

#[tokio::test]
async fn an_item_that_fails_leaves_the_others_done() {
    let world = World::start().await;
    let organizations = vec![
        organization("new", "New"),
        organization(ACME, "Acme"),
        organization("", "Nameless"),
        organization("new", "New again"),
        organization("newer", "Newer"),
    ];
    let results = upsert_organizations(&world, organizations.clone()).await;
    assert_eq!(
        outcomes(&results),
        [
            UpsertOutcome::Created,
            UpsertOutcome::Updated,
            UpsertOutcome::Failed,
            UpsertOutcome::Failed,
            UpsertOutcome::Created
        ]
    );
    assert_eq!(violations(&results[2]), ["id FIELD_REQUIRED"]);
    assert_eq!(violations(&results[3]), ["id DUPLICATE_IN_REQUEST"]);
    let duplicate = error(&results[3]);
    assert_eq!(duplicate.metadata["first_index"], "0");
    assert_eq!(duplicate.code, i32::from(Code::AlreadyExists));
    let again = upsert_organizations(&world, organizations).await;
    assert_eq!(
        outcomes(&again),
        [
            UpsertOutcome::Updated,
            UpsertOutcome::Updated,
            UpsertOutcome::Failed,
            UpsertOutcome::Failed,
            UpsertOutcome::Updated
        ]
    );

    let users = vec![
        user("ada", "Ada", &[]),
        user("a b", "", &[]),
        user("u", "", &[]),
        user("u", "", &[]),
    ];
    let results = upsert_users(&world, users).await;
    assert_eq!(
        outcomes(&results),
        [
            UpsertOutcome::Updated,
            UpsertOutcome::Failed,
            UpsertOutcome::Created,
            UpsertOutcome::Failed
        ]
    );

    let memberships = vec![
        membership(ACME, "u", ""),
        membership(ACME, "ada", "admin"),
        membership(ACME, "u", "admin"),
        membership(OTHER, "u", "admin"),
        membership("unknown", "u", ""),
    ];
    let results = upsert_memberships(&world, memberships).await;
    assert_eq!(
        outcomes(&results),
        [
            UpsertOutcome::Created,
            UpsertOutcome::Updated,
            UpsertOutcome::Failed,
            UpsertOutcome::Created,
            UpsertOutcome::Failed
        ]
    );
    assert_eq!(error(&results[2]).metadata["first_index"], "0");
    assert_eq!(get_membership(&world, "u").await.unwrap().role, "member");
}

#[tokio::test]
async fn every_violation_of_an_item_is_told_at_once() {
    let world = World::start().await;
    let broken = Organization {
        id: "a b".to_owned(),
        name: "See www.evil.example".to_owned(),
        roles: vec!["Owner".to_owned()],
        allowed_email_domains: vec!["localhost".to_owned()],
        redirect_origins: vec!["http://app.example.com".to_owned()],
        locale: "de_DE".to_owned(),
        logo_url: "http://cdn.example.com/logo.png".to_owned(),
        brand_color: "teal".to_owned(),
        support_email: "help@localhost".to_owned(),
        ..Default::default()
    };
    let roleless = Organization {
        default_role: "owner".to_owned(),
        ..organization("roleless", "Roleless")
    };
    let results = upsert_organizations(&world, vec![broken, roleless]).await;
    let expected = [
        "id FIELD_INVALID",
        "name NAME_CONTAINS_LINK",
        "roles ROLE_UNKNOWN",
        "allowed_email_domains FIELD_INVALID",
        "redirect_origins FIELD_INVALID",
        "locale LOCALE_INVALID",
        "logo_url FIELD_INVALID",
        "brand_color FIELD_INVALID",
        "support_email EMAIL_INVALID",
    ];
    assert_eq!(violations(&results[0]), expected);
    assert_eq!(violations(&results[1]), ["default_role ROLE_UNKNOWN"]);

    let emails = ["a@b.co", "b@localhost", "ä@b.co"];
    let results = upsert_users(&world, vec![user("", "Ev\u{202e}e", &emails)]).await;
    let expected = [
        "id FIELD_REQUIRED",
        "name NAME_INVALID",
        "verified_emails[1] EMAIL_INVALID",
        "verified_emails[2] EMAIL_UNSUPPORTED",
    ];
    assert_eq!(violations(&results[0]), expected);
    assert_eq!(error(&results[0]).reason(), ErrorReason::FieldRequired);

    let oversized = Membership {
        public_metadata: Some(text_metadata(&"x".repeat(9_000))),
        ..membership("", "a b", "Owner!")
    };
    let memberships = vec![
        oversized,
        membership("unknown", "nobody", "owner"),
        membership(ACME, "nobody", "owner"),
        membership(ACME, "grace", "owner"),
    ];
    let results = upsert_memberships(&world, memberships).await;
    let expected: [&[&str]; 4] = [
        &[
            "organization_id FIELD_REQUIRED",
            "user_id FIELD_INVALID",
            "role ROLE_UNKNOWN",
            "public_metadata METADATA_TOO_LARGE",
        ],
        &[
            "organization_id ORGANIZATION_NOT_FOUND",
            "user_id USER_NOT_FOUND",
        ],
        &["user_id USER_NOT_FOUND", "role ROLE_UNKNOWN"],
        &["role ROLE_UNKNOWN"],
    ];
    for (result, expected) in results.iter().zip(expected) {
        assert_eq!(violations(result), expected);
    }
    assert_eq!(
        get_membership(&world, "grace").await.unwrap().role,
        "member"
    );
}

#[tokio::test]
async fn an_empty_list_and_one_too_long_are_refused_as_a_whole() {
    let world = World::start().await;
    let users = |count: usize| UpsertUsersRequest {
        users: (0..count)
            .map(|number| user(&number.to_string(), "", &[]))
            .collect(),
    };
    let mut directory = world.directory();
    let empty = directory.upsert_users(users(0)).await;
    assert_eq!(reason(empty), "ITEMS_EMPTY");
    let too_many = directory.upsert_users(users(10_001)).await;
    assert_eq!(reason(too_many), "TOO_MANY_ITEMS");
    let answer = directory.upsert_users(users(10_000)).await.unwrap();
    assert_eq!(answer.into_inner().failed_count, 0);
}

#[tokio::test]
async fn a_name_with_a_link_in_it_is_refused() {
    let world = World::start().await;
    for name in [
        "https://evil.example",
        "Call evil.example now",
        "WWW.evil.test",
        "mailto:a@b.co",
    ] {
        let results = upsert_organizations(&world, vec![organization("new", name)]).await;
        assert_eq!(
            violations(&results[0]),
            ["name NAME_CONTAINS_LINK"],
            "{name}"
        );
        let results = upsert_users(&world, vec![user("new", name, &[])]).await;
        assert_eq!(
            violations(&results[0]),
            ["name NAME_CONTAINS_LINK"],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_users_addresses_are_replaced_as_a_whole() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world
        .add_user("grace", "Grace", &["new@example.com", "NEWER@example.com"])
        .await;
    let response = world
        .invite(&["new@Example.com", "newer@example.com", "grace@example.com"])
        .await;
    assert_eq!(
        item_reason(&response.results[0]),
        ErrorReason::AlreadyMember
    );
    assert_eq!(
        item_reason(&response.results[1]),
        ErrorReason::AlreadyMember
    );
    created(&response.results[2]);
    world.add_user("grace", "Grace", &[]).await;
    created(&world.invite(&["new@example.com"]).await.results[0]);
}
