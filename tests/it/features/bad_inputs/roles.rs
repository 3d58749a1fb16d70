//! Roles: names that are none, and what nobody may give away.

use invitations::proto::{ErrorReason, NewInvitation, Organization};
use tonic::Code;

use super::{GrpcCode as _, assert_refused, bulk_create, quiet, request_of};
use crate::features::directory::upsert_organizations;
use crate::support::{ACME, World, created, item_reason};

fn with_role(email: &str, role: &str) -> NewInvitation {
    NewInvitation {
        role: role.to_owned(),
        ..quiet(email)
    }
}

#[tokio::test]
async fn a_role_that_the_organization_has_not_is_refused() {
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
    assert_refused(&world, &inputs, rule, |index, role| {
        with_role(&format!("{index}@b.co"), &role)
    })
    .await;
    let results = bulk_create(&world, request_of(vec![with_role("a@b.co", "")])).await;
    assert_eq!(created(&results.results[0]).role, "member", "the default");
}

#[tokio::test]
async fn nobody_makes_an_owner_by_mail() {
    let world = World::start().await;
    let organization = Organization {
        id: ACME.to_owned(),
        name: "Acme Engines".to_owned(),
        roles: ["owner", "admin", "member"].map(str::to_owned).into(),
        ..Default::default()
    };
    let results = upsert_organizations(&world, vec![organization]).await;
    assert!(results[0].error.is_none());
    let items = vec![with_role("a@b.co", "owner"), with_role("b@b.co", "admin")];
    let results = bulk_create(&world, request_of(items)).await.results;
    assert_eq!(item_reason(&results[0]), ErrorReason::RoleNotGrantable);
    let error = results[0].error.as_ref().unwrap();
    assert_eq!(
        (error.code(), error.violations.len()),
        (Code::PermissionDenied, 1)
    );
    created(&results[1]);
    // The directory says who owns an organization.
    world.add_member(ACME, "grace", "owner").await;
}
