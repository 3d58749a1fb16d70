//! The inputs and results of the directory.

use prost_types::{FieldMask, Struct};

use super::fields::Field;
use super::{count, error, metadata, times};
use crate::domain::membership::{Membership, MembershipInput, MetadataInput};
use crate::domain::organization::{Organization, OrganizationInput};
use crate::domain::reason::Violation;
use crate::domain::role::RoleInput;
use crate::domain::update_mask::UpdateMask;
use crate::domain::user::{User, UserChange};
use crate::proto;
use crate::service::{UpsertOutcome, UpsertResult};

pub(in crate::grpc) fn organization_mask(mask: Option<&FieldMask>) -> Field<UpdateMask> {
    update_mask(mask, &Organization::WRITABLE)
}

pub(in crate::grpc) fn user_mask(mask: Option<&FieldMask>) -> Field<UpdateMask> {
    update_mask(mask, &User::WRITABLE)
}

pub(in crate::grpc) fn membership_mask(mask: Option<&FieldMask>) -> Field<UpdateMask> {
    update_mask(mask, &Membership::WRITABLE)
}

fn update_mask(mask: Option<&FieldMask>, writable: &[&str]) -> Field<UpdateMask> {
    let paths = mask.map_or(&[][..], |mask| &mask.paths);
    UpdateMask::parse(paths, writable)
}

pub(in crate::grpc) fn organization(input: proto::Organization) -> OrganizationInput {
    OrganizationInput {
        id: input.id,
        name: input.name,
        roles: input.roles.into_iter().map(role).collect(),
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

fn role(input: proto::Role) -> RoleInput {
    RoleInput {
        id: input.id,
        display_name: input.display_name,
        localized_display_names: input.localized_display_names.into_iter().collect(),
        can_invite: input.can_invite,
    }
}

pub(in crate::grpc) fn user(
    input: &proto::User,
    mask: &UpdateMask,
) -> Result<UserChange, Vec<Violation>> {
    let user = User::parse(
        &input.id,
        input.name.as_deref().unwrap_or_default(),
        &input.verified_emails,
        ["id", "name", "verified_emails"],
    )?;
    Ok(UserChange {
        user,
        is_name_changed: mask.includes("name", input.name.is_some()),
        are_emails_changed: mask.includes("verified_emails", !input.verified_emails.is_empty()),
    })
}

pub(in crate::grpc) fn membership_input(input: proto::Membership) -> MembershipInput {
    MembershipInput {
        organization_id: input.organization_id,
        user_id: input.user_id,
        role: input.role.unwrap_or_default(),
        public_metadata: metadata_input(input.public_metadata),
        private_metadata: metadata_input(input.private_metadata),
    }
}

fn metadata_input(input: Option<Struct>) -> MetadataInput {
    match input {
        None => MetadataInput::Unset,
        input => metadata::object(input).map_or(MetadataInput::Malformed, MetadataInput::Object),
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
