//! Dry runs of an erasure.

use invitations::proto::EraseAddressRequest;

use super::{CANARY, counts, invite, places_of};
use crate::support::audit::audit_rows;
use crate::support::{ACME, OTHER, World};

#[tokio::test]
async fn a_dry_run_of_an_erasure_returns_its_counts_and_changes_nothing() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.add_user("u-1", "Person", &[CANARY]).await;
    world
        .add_user("u-2", "Person", &[CANARY, "other@b.co"])
        .await;
    let revoked = invite(&world, ACME, "ada", CANARY).await;
    world.revoke(&revoked).await;
    invite(&world, ACME, "ada", CANARY).await;
    invite(&world, OTHER, "eve", CANARY).await;
    let (rows, places) = (
        audit_rows(&world).await,
        places_of(&world, &CANARY.to_lowercase()).await,
    );
    for suppress in [false, true] {
        let request = EraseAddressRequest {
            email: CANARY.to_owned(),
            suppress,
            validate_only: true,
            ..Default::default()
        };
        let previewed = world.directory().erase_address(request).await.unwrap();
        let expected = ([3, 2, 2, 2, 1], suppress);
        assert_eq!(counts(&previewed.into_inner()), expected);
    }
    assert_eq!(audit_rows(&world).await, rows);
    assert_eq!(places_of(&world, &CANARY.to_lowercase()).await, places);
    let erased = world.erase_address(CANARY, true).await;
    assert_eq!(counts(&erased), ([3, 2, 2, 2, 1], true));
}
