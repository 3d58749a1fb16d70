//! Organizations: their roles, their brand, and what a deletion removes.

use invitations::proto::{
    ErrorReason, ListRequest, Organization, UpsertOrganizationsRequest, UpsertOutcome,
};

use crate::features::memberships::list_page;
use crate::support::directory::{
    mask, membership, organization, upsert_outcomes, upsert_violations,
};
use crate::support::{ACME, World, invite_request, item_reason, list_request, reason};

#[tokio::test]
async fn the_roles_of_an_organization_have_defaults_and_are_replaced_as_a_whole() {
    let world = World::start().await;
    let roles = |names: &[&str]| Organization {
        roles: crate::support::directory::roles_named(names),
        ..organization(ACME, "Acme")
    };
    let viewer = Organization {
        default_role: Some("viewer".to_owned()),
        ..roles(&["viewer", "billing:read"])
    };
    world.upsert_organizations(vec![viewer]).await;
    for (role, expected) in [
        ("", "viewer"),
        ("billing:read", "billing:read"),
        ("admin", "admin"),
    ] {
        let results = world
            .upsert_memberships(vec![membership(ACME, "eve", role)])
            .await;
        assert_ne!(results[0].outcome(), UpsertOutcome::Failed, "{role}");
        assert_eq!(world.get_membership("eve").await.unwrap().role(), expected);
    }
    let results = world
        .upsert_memberships(vec![membership(ACME, "eve", "member")])
        .await;
    assert_eq!(upsert_violations(&results[0]), ["role ROLE_UNKNOWN"]);

    let defaults = UpsertOrganizationsRequest {
        organizations: vec![roles(&[])],
        update_mask: Some(mask(&["roles", "default_role"])),
        ..Default::default()
    };
    world
        .directory()
        .upsert_organizations(defaults)
        .await
        .unwrap();
    let results = world
        .upsert_memberships(vec![membership(ACME, "eve", "viewer")])
        .await;
    assert_eq!(upsert_violations(&results[0]), ["role ROLE_UNKNOWN"]);
}

#[tokio::test]
async fn a_deleted_organization_is_restored_only_on_request_and_starts_empty() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let response = world.delete_organization().await;
    assert_eq!(response.revoked_invitation_count, 1);
    assert_eq!(response.deleted_membership_count, 2);
    let results = world
        .upsert_memberships(vec![membership(ACME, "ada", "admin")])
        .await;
    assert_eq!(
        upsert_violations(&results[0]),
        ["organization_id ORGANIZATION_NOT_FOUND"]
    );
    assert_eq!(
        reason(list_page(&world, ACME, 0, "").await),
        "ORGANIZATION_NOT_FOUND"
    );

    // A list is refused, whether it would return invitations or not.
    let empty = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some("unknown@b.co".to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    for request in [list_request(), empty] {
        let answer = world.client().list(request).await;
        assert_eq!(reason(answer), "ORGANIZATION_NOT_FOUND");
    }

    let late = world
        .upsert_organizations(vec![organization(ACME, "Acme II")])
        .await;
    assert_eq!(upsert_violations(&late[0]), ["id ORGANIZATION_DELETED"]);
    assert_eq!(
        reason(list_page(&world, ACME, 0, "").await),
        "ORGANIZATION_NOT_FOUND"
    );
    let restore = UpsertOrganizationsRequest {
        organizations: vec![organization(ACME, "Acme II")],
        undelete: true,
        ..Default::default()
    };
    let restored = world.directory().upsert_organizations(restore).await;
    let restored = restored.unwrap().into_inner().results;
    assert_eq!(upsert_outcomes(&restored), [UpsertOutcome::Updated]);
    assert!(
        list_page(&world, ACME, 0, "")
            .await
            .unwrap()
            .memberships
            .is_empty()
    );
    let listed = world.list(list_request()).await;
    assert_eq!(listed.invitations[0].id, invitation.id);
    assert_eq!(world.get(&invitation.id).await.organization_name, "Acme II");
    assert_eq!(
        reason(world.accept(&token, "new", "a@b.co").await),
        "INVITATION_REVOKED"
    );
    let refused = world
        .client()
        .bulk_create(invite_request(&["a@b.co"]))
        .await;
    let refused = refused.unwrap().into_inner();
    assert_eq!(
        item_reason(&refused.results[0]),
        ErrorReason::InviterCannotInvite
    );
    world.add_member(ACME, "ada", "admin").await;
    world.invite_one("a@b.co").await;
}

#[tokio::test]
async fn emails_show_the_brand_of_an_organization_until_it_is_removed() {
    let mut world = World::start().await;
    let branded = Organization {
        logo_url: Some("https://cdn.example.com/acme.png?a=1&b=2".to_owned()),
        brand_color: Some("#0F766E".to_owned()),
        support_email: Some("Help@acme.example".to_owned()),
        ..organization(ACME, "Acme")
    };
    let results = world.upsert_organizations(vec![branded]).await;
    assert_eq!(upsert_outcomes(&results), [UpsertOutcome::Updated]);
    world.invite_one("alice@example.com").await;
    let mail = world.mail_to("alice@example.com");
    for shown in [
        "src=\"https://cdn.example.com/acme.png?a=1&amp;b=2\" alt=\"Acme\"",
        "#0f766e",
        "mailto:Help@acme.example",
    ] {
        assert!(mail.html.contains(shown), "{shown} in {}", mail.html);
    }
    assert!(mail.text.contains("Questions? Write to Help@acme.example"));

    let unbranded = Organization {
        logo_url: Some(String::new()),
        brand_color: Some(String::new()),
        support_email: Some(String::new()),
        ..organization(ACME, "Acme")
    };
    world.upsert_organization(unbranded).await;
    world.invite_one("bob@example.com").await;
    let mail = world.mail_to("bob@example.com");
    assert!(!mail.html.contains("<img") && !mail.html.contains("#0f766e"));
    assert!(!mail.text.contains("Questions?"));
}
