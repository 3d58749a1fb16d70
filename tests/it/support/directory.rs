//! Organizations, users and memberships: builders for them, and calls that write them.

use invitations::proto::{
    ErrorReason, ItemError, Membership, Organization, UpsertMembershipsRequest,
    UpsertOrganizationsRequest, UpsertOutcome, UpsertResult, UpsertUsersRequest, User,
};

use prost_types::FieldMask;

use crate::support::callers::DirectoryClient;

/// An organization with nothing but an id and a name.
pub(crate) fn organization(id: &str, name: &str) -> Organization {
    Organization {
        id: id.to_owned(),
        name: Some(name.to_owned()),
        ..Default::default()
    }
}

/// Roles without display names.
pub(crate) fn roles_named(ids: &[&str]) -> Vec<invitations::proto::Role> {
    let role = |id: &&str| invitations::proto::Role {
        id: (*id).to_owned(),
        ..Default::default()
    };
    ids.iter().map(role).collect()
}

pub(crate) fn user(id: &str, name: &str, emails: &[&str]) -> User {
    User {
        id: id.to_owned(),
        name: Some(name.to_owned()),
        verified_emails: emails.iter().map(|email| (*email).to_owned()).collect(),
        ..Default::default()
    }
}

/// A membership without metadata. An empty role is the default role of the organization.
pub(crate) fn membership(organization_id: &str, user_id: &str, role: &str) -> Membership {
    Membership {
        organization_id: organization_id.to_owned(),
        user_id: user_id.to_owned(),
        role: (!role.is_empty()).then(|| role.to_owned()),
        ..Default::default()
    }
}

/// An update mask with these paths.
pub(crate) fn mask(paths: &[&str]) -> FieldMask {
    FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    }
}

/// Upserts organizations. The results are checked to be in order, with an error for each failed item and for no other.
pub(crate) async fn upsert_organizations(
    directory: &DirectoryClient,
    organizations: Vec<Organization>,
) -> Vec<UpsertResult> {
    let request = UpsertOrganizationsRequest {
        organizations,
        ..Default::default()
    };
    let answer = directory.clone().upsert_organizations(request).await;
    checked(answer.unwrap().into_inner().results)
}

/// Upserts users, with results as [`upsert_organizations`] returns them.
pub(crate) async fn upsert_users(
    directory: &DirectoryClient,
    users: Vec<User>,
) -> Vec<UpsertResult> {
    let request = UpsertUsersRequest {
        users,
        ..Default::default()
    };
    let answer = directory.clone().upsert_users(request).await;
    checked(answer.unwrap().into_inner().results)
}

/// Upserts memberships, with results as [`upsert_organizations`] returns them.
pub(crate) async fn upsert_memberships(
    directory: &DirectoryClient,
    memberships: Vec<Membership>,
) -> Vec<UpsertResult> {
    let request = UpsertMembershipsRequest {
        memberships,
        ..Default::default()
    };
    let answer = directory.clone().upsert_memberships(request).await;
    checked(answer.unwrap().into_inner().results)
}

fn checked(results: Vec<UpsertResult>) -> Vec<UpsertResult> {
    for (index, result) in (0..).zip(&results) {
        let is_failed = result.outcome() == UpsertOutcome::Failed;
        assert_eq!((result.index, result.error.is_some()), (index, is_failed));
    }
    results
}

/// Fails if an item failed, and shows the fields that it names.
pub(crate) fn assert_upserted(results: &[UpsertResult]) {
    let errors = results.iter().filter_map(|result| result.error.as_ref());
    let violations: Vec<_> = errors
        .flat_map(|error| &error.violations)
        .map(|violation| (&violation.field, &violation.message))
        .collect();
    for result in results {
        assert_ne!(result.outcome(), UpsertOutcome::Failed, "{violations:?}");
    }
}

pub(crate) fn upsert_outcomes(results: &[UpsertResult]) -> Vec<UpsertOutcome> {
    results.iter().map(UpsertResult::outcome).collect()
}

/// The error of an item that failed.
pub(crate) fn upsert_error(result: &UpsertResult) -> &ItemError {
    let error = result.error.as_ref();
    error.expect("the item was expected to fail")
}

/// Each violation of an item that failed, as `field REASON`.
pub(crate) fn upsert_violations(result: &UpsertResult) -> Vec<String> {
    let violations = upsert_error(result).violations.iter();
    let name = |reason: ErrorReason| reason.as_str_name().replace("ERROR_REASON_", "");
    violations
        .map(|violation| format!("{} {}", violation.field, name(violation.reason())))
        .collect()
}
