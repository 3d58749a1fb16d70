//! Organizations, users and memberships.

use super::{error, invitation, metadata, times};
use crate::domain::membership::{Membership, MembershipInput};
use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::organization::OrganizationInput;
use crate::domain::reason::{Reason, Violation};
use crate::domain::user::User;
use crate::proto;
use crate::service::{UpsertOutcome, Upserted};

/// Refuses an empty list and an oversized one.
pub(in crate::grpc) fn check_length(field: &str, length: usize) -> Result<(), Vec<Violation>> {
    let refuse = |reason| Err(vec![Violation::new(field, reason)]);
    match length {
        0 => refuse(Reason::ItemsEmpty),
        1..=ITEMS_MAX => Ok(()),
        _ => refuse(Reason::TooManyItems),
    }
}

/// An organization in domain words.
pub(in crate::grpc) fn organization(input: proto::Organization) -> OrganizationInput {
    OrganizationInput {
        id: input.id,
        name: input.name,
        roles: input.roles,
        default_role: input.default_role,
        allowed_email_domains: input.allowed_email_domains,
        redirect_origins: input.redirect_origins,
        locale: input.locale,
        recheck_inviter: input.recheck_inviter,
        logo_url: input.logo_url,
        brand_color: input.brand_color,
        support_email: input.support_email,
        reminder_lead: times::reminder_lead(input.reminder_lead),
    }
}

/// A user in domain words.
pub(in crate::grpc) fn user(input: &proto::User) -> Result<User, Vec<Violation>> {
    User::parse(
        &input.id,
        &input.name,
        &input.verified_emails,
        ["id", "name", "verified_emails"],
    )
}

/// A membership in domain words.
pub(in crate::grpc) fn membership_input(input: proto::Membership) -> MembershipInput {
    MembershipInput {
        organization_id: input.organization_id,
        user_id: input.user_id,
        role: input.role,
        public_metadata: metadata::object(input.public_metadata),
        private_metadata: metadata::object(input.private_metadata),
    }
}

/// A membership on the wire.
pub(in crate::grpc) fn membership(input: Membership) -> proto::Membership {
    proto::Membership {
        organization_id: input.organization_id,
        user_id: input.user_id,
        role: input.role,
        public_metadata: metadata::structure(input.public_metadata),
        private_metadata: metadata::structure(input.private_metadata),
        invitation_id: input.invitation_id.map(invitation::id).unwrap_or_default(),
        create_time: Some(times::timestamp(input.created_at)),
        update_time: Some(times::timestamp(input.updated_at)),
    }
}

/// Results on the wire, and how many failed.
pub(in crate::grpc) fn upserted(results: Vec<Upserted>) -> (Vec<proto::UpsertResult>, i32) {
    let is_failed = |result: &&Upserted| result.outcome == UpsertOutcome::Failed;
    let failed_count = i32::try_from(results.iter().filter(is_failed).count()).unwrap_or(i32::MAX);
    let results = (0..)
        .zip(results)
        .map(|(index, result)| upsert_result(index, &result))
        .collect();
    (results, failed_count)
}

fn upsert_result(index: i32, result: &Upserted) -> proto::UpsertResult {
    let outcome = match result.outcome {
        UpsertOutcome::Created => proto::UpsertOutcome::Created,
        UpsertOutcome::Updated => proto::UpsertOutcome::Updated,
        UpsertOutcome::Failed => proto::UpsertOutcome::Failed,
    };
    let is_failed = result.outcome == UpsertOutcome::Failed;
    proto::UpsertResult {
        index,
        outcome: outcome.into(),
        error: is_failed.then(|| error::item_error(&result.violations, result.first_index)),
    }
}
