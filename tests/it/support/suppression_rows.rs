//! Suppressions that a test writes directly into the database, with any reason.

use invitations::domain::address_tag::AddressTagger;
use invitations::domain::keyring::Keyring;
use invitations::domain::suppression::SuppressionReason;
use invitations::store::Connection;
use invitations::store::suppressions::{self, SuppressionRow};

use crate::support::fixtures::{KEYS, START};
use crate::support::world::World;

/// A suppression that begins at the start of the test. An empty organization id stands for all organizations.
pub(crate) fn suppression_row(
    organization_id: &str,
    email: &str,
    reason: SuppressionReason,
) -> SuppressionRow {
    let tagger = AddressTagger::new(&Keyring::parse(KEYS).unwrap());
    SuppressionRow {
        organization_id: organization_id.to_owned(),
        tag: tagger.tag_of_normalized(email),
        reason,
        expires_at: reason.ends_at(START),
    }
}

pub(crate) async fn write_suppressions(world: &World, rows: &[SuppressionRow]) {
    let mut database = world.database().await;
    suppressions::upsert_many(&mut Connection::new(&mut database), rows, START)
        .await
        .unwrap();
}
