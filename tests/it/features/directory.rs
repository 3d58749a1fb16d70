//! Upserting organizations, users and memberships.

use invitations::proto::{
    ErrorReason, Membership, Organization, UpsertMembershipsRequest, UpsertOrganizationsRequest,
    UpsertOutcome, UpsertUsersRequest,
};
use tonic::Code;

use crate::support::audit::audit_rows_of;
use crate::support::directory::{
    mask, membership, organization, upsert_error, upsert_outcomes, upsert_violations, user,
};
use crate::support::{ACME, OTHER, World, created, item_reason, metadata, new_request_id, reason};

#[tokio::test]
async fn a_failed_item_does_not_affect_the_others() {
    let world = World::start().await;
    let organizations = vec![
        organization("new", "New"),
        organization(ACME, "Acme"),
        organization("", "Nameless"),
        organization("new", "New again"),
        organization("newer", "Newer"),
    ];
    let results = world.upsert_organizations(organizations.clone()).await;
    assert_eq!(
        upsert_outcomes(&results),
        [
            UpsertOutcome::Created,
            UpsertOutcome::Updated,
            UpsertOutcome::Failed,
            UpsertOutcome::Failed,
            UpsertOutcome::Created
        ]
    );
    assert_eq!(upsert_violations(&results[2]), ["id FIELD_REQUIRED"]);
    assert_eq!(upsert_violations(&results[3]), ["id DUPLICATE_IN_REQUEST"]);
    let duplicate = upsert_error(&results[3]);
    assert_eq!(duplicate.metadata["first_index"], "0");
    assert_eq!(duplicate.code, i32::from(Code::AlreadyExists));
    let again = world.upsert_organizations(organizations).await;
    assert_eq!(
        upsert_outcomes(&again),
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
    let results = world.upsert_users(users).await;
    assert_eq!(
        upsert_outcomes(&results),
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
    let results = world.upsert_memberships(memberships).await;
    assert_eq!(
        upsert_outcomes(&results),
        [
            UpsertOutcome::Created,
            UpsertOutcome::Updated,
            UpsertOutcome::Failed,
            UpsertOutcome::Created,
            UpsertOutcome::Failed
        ]
    );
    assert_eq!(upsert_error(&results[2]).metadata["first_index"], "0");
    assert_eq!(world.get_membership("u").await.unwrap().role(), "member");
}

#[tokio::test]
async fn a_failed_item_lists_every_violation() {
    let world = World::start().await;
    let broken = Organization {
        id: "a b".to_owned(),
        name: Some("See www.evil.example".to_owned()),
        roles: crate::support::directory::roles_named(&["Owner"]),
        allowed_email_domains: vec!["localhost".to_owned()],
        redirect_origins: vec!["http://app.example.com".to_owned()],
        locale: Some("de_DE".to_owned()),
        logo_url: Some("http://cdn.example.com/logo.png".to_owned()),
        brand_color: Some("teal".to_owned()),
        support_email: Some("help@localhost".to_owned()),
        ..Default::default()
    };
    let roleless = Organization {
        default_role: Some("owner".to_owned()),
        ..organization("roleless", "Roleless")
    };
    let results = world.upsert_organizations(vec![broken, roleless]).await;
    let expected = [
        "id FIELD_INVALID",
        "name NAME_CONTAINS_LINK",
        "roles[0].id FIELD_INVALID",
        "allowed_email_domains FIELD_INVALID",
        "redirect_origins FIELD_INVALID",
        "locale LOCALE_INVALID",
        "logo_url FIELD_INVALID",
        "brand_color FIELD_INVALID",
        "support_email EMAIL_INVALID",
    ];
    assert_eq!(upsert_violations(&results[0]), expected);
    assert_eq!(
        upsert_violations(&results[1]),
        ["default_role ROLE_UNKNOWN"]
    );

    let emails = ["a@b.co", "b@localhost", "ä@b.co"];
    let results = world
        .upsert_users(vec![user("", "Ev\u{202e}e", &emails)])
        .await;
    let expected = [
        "id FIELD_REQUIRED",
        "name NAME_INVALID",
        "verified_emails[1] EMAIL_INVALID",
        "verified_emails[2] EMAIL_UNSUPPORTED",
    ];
    assert_eq!(upsert_violations(&results[0]), expected);
    assert_eq!(
        upsert_error(&results[0]).reason(),
        ErrorReason::FieldRequired
    );

    let oversized = Membership {
        public_metadata: Some(metadata("text", &"x".repeat(9_000))),
        ..membership("", "a b", "Owner!")
    };
    let memberships = vec![
        oversized,
        membership("unknown", "nobody", "owner"),
        membership(ACME, "nobody", "owner"),
        membership(ACME, "grace", "owner"),
    ];
    let results = world.upsert_memberships(memberships).await;
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
        assert_eq!(upsert_violations(result), expected);
    }
    assert_eq!(
        world.get_membership("grace").await.unwrap().role(),
        "member"
    );
}

#[tokio::test]
async fn an_empty_list_and_a_list_of_more_than_ten_thousand_are_refused() {
    let world = World::start().await;
    let users = |count: usize| UpsertUsersRequest {
        users: (0..count)
            .map(|number| user(&number.to_string(), "", &[]))
            .collect(),
        ..Default::default()
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
async fn a_name_that_contains_a_link_is_refused() {
    let world = World::start().await;
    for name in [
        "https://evil.example",
        "Call evil.example now",
        "WWW.evil.test",
        "mailto:a@b.co",
    ] {
        let results = world
            .upsert_organizations(vec![organization("new", name)])
            .await;
        assert_eq!(
            upsert_violations(&results[0]),
            ["name NAME_CONTAINS_LINK"],
            "{name}"
        );
        let results = world.upsert_users(vec![user("new", name, &[])]).await;
        assert_eq!(
            upsert_violations(&results[0]),
            ["name NAME_CONTAINS_LINK"],
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_upsert_replaces_all_addresses_of_a_user() {
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
    let upsert = UpsertUsersRequest {
        users: vec![user("grace", "Grace", &[])],
        update_mask: Some(mask(&["verified_emails"])),
        ..Default::default()
    };
    world.directory().upsert_users(upsert).await.unwrap();
    created(&world.invite(&["new@example.com"]).await.results[0]);
}

#[tokio::test]
async fn the_audit_log_says_who_asked_for_an_upsert() {
    let world = World::start().await;
    let request_id = new_request_id();
    let mut directory = world.directory();
    let rows = audit_rows_of(&world, async {
        let organizations = UpsertOrganizationsRequest {
            organizations: vec![organization(ACME, "Acme")],
            request_id: request_id.clone(),
            acting_user_id: "ada".to_owned(),
            ..Default::default()
        };
        directory.upsert_organizations(organizations).await.unwrap();
        let users = UpsertUsersRequest {
            users: vec![user("grace", "Grace", &[])],
            request_id: request_id.clone(),
            acting_user_id: "ada".to_owned(),
            ..Default::default()
        };
        directory.upsert_users(users).await.unwrap();
        let memberships = UpsertMembershipsRequest {
            memberships: vec![membership(ACME, "grace", "admin")],
            request_id: request_id.clone(),
            acting_user_id: "ada".to_owned(),
            ..Default::default()
        };
        directory.upsert_memberships(memberships).await.unwrap();
    });
    let rows = rows.await;
    assert_eq!(rows.len(), 3);
    for row in rows {
        let recorded = row.request_id.map(|id| id.to_string());
        assert_eq!(recorded.as_ref(), Some(&request_id), "{}", row.action);
        assert_eq!(row.on_behalf_of_user_id.as_deref(), Some("ada"));
    }
    let malformed = UpsertUsersRequest {
        users: vec![user("grace", "Grace", &[])],
        request_id: "7".to_owned(),
        ..Default::default()
    };
    let refused = directory.upsert_users(malformed).await;
    assert_eq!(reason(refused), "REQUEST_ID_INVALID");
}
