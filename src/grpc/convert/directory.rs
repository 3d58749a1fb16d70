//! The inputs and results of the directory.

use super::{count, error, metadata, times};
use crate::domain::membership::MembershipInput;
use crate::domain::organization::OrganizationInput;
use crate::domain::reason::Violation;
use crate::domain::user::User;
use crate::proto;
use crate::service::{UpsertOutcome, UpsertResult};

pub(in crate::grpc) fn organization(input: proto::Organization) -> OrganizationInput {
    OrganizationInput {
        id: input.id,
        name: input.name.unwrap_or_default(),
        // TODO(13): display names and can_invite of roles; update masks.
        roles: input.roles.into_iter().map(|role| role.id).collect(),
        default_role: input.default_role.unwrap_or_default(),
        allowed_email_domains: input.allowed_email_domains,
        redirect_origins: input.redirect_origins,
        locale: input.locale.unwrap_or_default(),
        recheck_inviter: input.recheck_inviter.unwrap_or_default(),
        logo_url: input.logo_url.unwrap_or_default(),
        brand_color: input.brand_color.unwrap_or_default(),
        support_email: input.support_email.unwrap_or_default(),
        reminder_lead: times::reminder_lead(input.reminder_lead),
    }
}

pub(in crate::grpc) fn user(input: &proto::User) -> Result<User, Vec<Violation>> {
    User::parse(
        &input.id,
        input.name.as_deref().unwrap_or_default(),
        &input.verified_emails,
        ["id", "name", "verified_emails"],
    )
}

pub(in crate::grpc) fn membership_input(input: proto::Membership) -> MembershipInput {
    MembershipInput {
        organization_id: input.organization_id,
        user_id: input.user_id,
        role: input.role.unwrap_or_default(),
        public_metadata: metadata::object(input.public_metadata),
        private_metadata: metadata::object(input.private_metadata),
    }
}

pub(in crate::grpc) fn upserted(results: Vec<UpsertResult>) -> (Vec<proto::UpsertResult>, i32) {
    let is_failed = |result: &&UpsertResult| result.outcome == UpsertOutcome::Failed;
    let failed_count = count(results.iter().filter(is_failed).count());
    let results = (0..).zip(results).map(|(index, result)| {
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
    });
    (results.collect(), failed_count)
}
