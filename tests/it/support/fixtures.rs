//! The organizations, users, keys and start time that every test begins with.

use std::time::Duration;

use time::OffsetDateTime;

use crate::support::callers::DirectoryClient;
use crate::support::directory::{
    assert_upserted, membership, organization, upsert_memberships, upsert_organizations,
    upsert_users, user,
};

/// The organization of most tests. Its admin is `ada`, its other member is `grace` (`grace@example.com`).
pub(crate) const ACME: &str = "acme";
/// A second organization. Its admin is `eve`.
pub(crate) const OTHER: &str = "other";
/// How long the service keeps events in every test.
pub(crate) const EVENTS_KEPT: Duration = Duration::from_hours(24 * 7);
/// The time at which the clock of every test begins.
pub(crate) const START: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);
/// A keyring that signs with key 1.
pub(crate) const KEYS: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
/// A keyring that signs with key 2. Two keyrings in one string are a ring of both keys that signs with the first.
pub(crate) const KEY_2: &str = "2 HxweHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgA\n";
/// An id that no invitation, batch or request has.
pub(crate) const UNKNOWN_ID: &str = "019aacd0-0000-7000-8000-000000000001";

/// Upserts the organizations, the admins and the member above.
pub(crate) async fn populate(directory: &DirectoryClient) {
    let organizations = [(ACME, "Acme Engines"), (OTHER, "Other Works")].map(|(id, name)| {
        let mut organization = organization(id, name);
        organization.redirect_origins = vec!["https://app.example.com".to_owned()];
        organization
    });
    assert_upserted(&upsert_organizations(directory, organizations.into()).await);
    for (id, name) in [
        ("ada", "Ada Lovelace"),
        ("grace", "Grace Hopper"),
        ("eve", "Eve"),
    ] {
        let user = user(id, name, &[&format!("{id}@example.com")]);
        assert_upserted(&upsert_users(directory, vec![user]).await);
    }
    for (organization_id, user_id, role) in [
        (ACME, "ada", "admin"),
        (ACME, "grace", "member"),
        (OTHER, "eve", "admin"),
    ] {
        let membership = membership(organization_id, user_id, role);
        assert_upserted(&upsert_memberships(directory, vec![membership]).await);
    }
}
