//! Organizations, users and memberships: builders for them, and calls that write them.

use invitations::proto::{
    Membership, Organization, UpsertMembershipsRequest, UpsertOrganizationsRequest,
    UpsertUsersRequest, User,
};

use crate::support::callers::DirectoryClient;

/// An organization with nothing but an id and a name.
pub(crate) fn organization(id: &str, name: &str) -> Organization {
    Organization {
        id: id.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn user(id: &str, name: &str, emails: &[&str]) -> User {
    User {
        id: id.to_owned(),
        name: name.to_owned(),
        verified_emails: emails.iter().map(|email| (*email).to_owned()).collect(),
    }
}

/// A membership without metadata.
pub(crate) fn membership(organization_id: &str, user_id: &str, role: &str) -> Membership {
    Membership {
        organization_id: organization_id.to_owned(),
        user_id: user_id.to_owned(),
        role: role.to_owned(),
        ..Default::default()
    }
}

/// Upserts organizations. Fails unless all of them are valid.
pub(super) async fn upsert_organizations(
    directory: &DirectoryClient,
    organizations: Vec<Organization>,
) {
    let request = UpsertOrganizationsRequest { organizations };
    let answer = directory.clone().upsert_organizations(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
}

pub(super) async fn upsert_user(
    directory: &DirectoryClient,
    id: &str,
    name: &str,
    emails: &[&str],
) {
    let users = vec![user(id, name, emails)];
    let request = UpsertUsersRequest { users };
    let answer = directory.clone().upsert_users(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
}

pub(super) async fn upsert_membership(
    directory: &DirectoryClient,
    organization_id: &str,
    user_id: &str,
    role: &str,
) {
    let memberships = vec![membership(organization_id, user_id, role)];
    let request = UpsertMembershipsRequest { memberships };
    let answer = directory.clone().upsert_memberships(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
}
