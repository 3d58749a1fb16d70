//! Roles that do not exist, and roles that an inviter must not grant.

use invitations::proto::{ErrorReason, NewInvitation, Organization};
use tonic::Code;

use super::assert_items_refused;
use crate::support::directory::organization;
use crate::support::{ACME, World, create_request, created, item_reason, item_without_email};

fn with_role(email: &str, role: &str) -> NewInvitation {
    NewInvitation {
        role: role.to_owned(),
        ..item_without_email(email)
    }
}

#[tokio::test]
async fn a_role_that_the_organization_does_not_have_is_refused() {
    let world = World::start().await;
    let long = "r".repeat(65);
    let inputs = [
        "root",
        "owner,member",
        "Member",
        "member ",
        "owner",
        "r\u{f4}le",
        "member\0",
        "'; DROP TABLE invitations; --",
        &long,
    ];
    let rule = ("role", ErrorReason::RoleUnknown);
    assert_items_refused(&world, &inputs, rule, |index, role| {
        with_role(&format!("{index}@b.co"), &role)
    })
    .await;
    let results = world
        .bulk_create(create_request(vec![with_role("a@b.co", "")]))
        .await;
    assert_eq!(
        created(&results.results[0]).role,
        "member",
        "the default role"
    );
}

#[tokio::test]
async fn an_invitation_cannot_grant_the_role_owner() {
    let world = World::start().await;
    let with_owner = Organization {
        roles: crate::support::directory::roles_named(&["owner", "admin", "member"]),
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(with_owner).await;
    let items = vec![with_role("a@b.co", "owner"), with_role("b@b.co", "admin")];
    let results = world.bulk_create(create_request(items)).await.results;
    assert_eq!(item_reason(&results[0]), ErrorReason::RoleNotGrantable);
    let error = results[0].error.as_ref().unwrap();
    assert_eq!(
        (error.code, error.violations.len()),
        (i32::from(Code::PermissionDenied), 1)
    );
    created(&results[1]);
    // The directory can make a member an owner.
    world.add_member(ACME, "grace", "owner").await;
}
