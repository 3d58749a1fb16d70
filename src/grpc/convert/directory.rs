//! The inputs and results of the directory.

use prost_types::{FieldMask, Struct};
use time::Duration;

use super::error::ItemErrors;
use super::fields::{self, Field, Fields as _};
use super::{count, metadata, times};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::membership::{Membership, MembershipInput, MetadataInput};
use crate::domain::organization::{Organization, OrganizationInput};
use crate::domain::organization_record::OrganizationRecord;
use crate::domain::reason::Violation;
use crate::domain::role::{Role, RoleInput};
use crate::domain::update_mask::UpdateMask;
use crate::domain::user::{User, UserChange, UserRecord};
use crate::proto;
use crate::service::{DeleteOutcome, RefusedDelete, UpsertOutcome, UpsertResult};

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

/// An organization as it is stored. Empty fields are not set.
pub(in crate::grpc) fn organization_record(record: OrganizationRecord) -> proto::Organization {
    let stored = record.organization;
    let brand = stored.brand;
    let text = |text: String| (!text.is_empty()).then_some(text);
    let lead = i64::from(stored.reminder_lead.seconds());
    proto::Organization {
        id: stored.id.as_str().to_owned(),
        name: text(stored.name),
        roles: stored.roles.into_iter().map(stored_role).collect(),
        default_role: text(stored.default_role),
        allowed_email_domains: stored.allowed_email_domains,
        redirect_origins: stored.redirect_origins,
        locale: text(stored.locale),
        recheck_inviter: Some(stored.recheck_inviter),
        reminder_lead: (lead > 0).then(|| times::duration(Duration::seconds(lead))),
        logo_url: brand.logo_url,
        brand_color: brand.color.map(|color| color.to_string()),
        support_email: brand.support_email.map(|email| email.given().to_owned()),
        create_time: Some(times::timestamp(record.created_at)),
        update_time: Some(times::timestamp(record.updated_at)),
        suspend_time: record.suspended_at.map(times::timestamp),
        delete_time: record.deleted_at.map(times::timestamp),
    }
}

fn stored_role(role: Role) -> proto::Role {
    proto::Role {
        id: role.id.as_str().to_owned(),
        display_name: role.names.display_name,
        localized_display_names: role.names.localized.into_iter().collect(),
        can_invite: role.can_invite,
    }
}

/// A user as it is stored. The addresses are in their normalized form.
pub(in crate::grpc) fn user_record(record: UserRecord) -> proto::User {
    proto::User {
        id: record.id,
        name: Some(record.name).filter(|name| !name.is_empty()),
        verified_emails: record.emails_normalized,
        create_time: Some(times::timestamp(record.created_at)),
        update_time: Some(times::timestamp(record.updated_at)),
    }
}

pub(in crate::grpc) fn member_key(key: &proto::MembershipKey) -> Field<(OrganizationId, UserId)> {
    (
        fields::organization_id(&key.organization_id),
        fields::user_id(&key.user_id),
    )
        .all()
}

/// The results of a bulk delete, and how many failed.
pub(in crate::grpc) fn deleted(
    results: Vec<Result<DeleteOutcome, RefusedDelete>>,
) -> (Vec<proto::DeleteResult>, i32) {
    let failed_count = count(results.iter().filter(|result| result.is_err()).count());
    let errors = ItemErrors::among(results.len());
    let results = (0..).zip(results).map(|(index, result)| {
        let outcome = match result {
            Ok(DeleteOutcome::Deleted) => proto::DeleteOutcome::Deleted,
            Ok(DeleteOutcome::Missing) => proto::DeleteOutcome::Missing,
            Err(_) => proto::DeleteOutcome::Failed,
        };
        proto::DeleteResult {
            index,
            outcome: outcome.into(),
            error: result
                .err()
                .map(|refused| errors.of_violations(&refused.violations, refused.first_index)),
        }
    });
    (results.collect(), failed_count)
}

pub(in crate::grpc) fn upserted(results: Vec<UpsertResult>) -> (Vec<proto::UpsertResult>, i32) {
    let is_failed = |result: &&UpsertResult| result.outcome == UpsertOutcome::Failed;
    let failed_count = count(results.iter().filter(is_failed).count());
    let errors = ItemErrors::among(results.len());
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
            error: is_failed.then(|| errors.of_violations(&result.violations, result.first_index)),
        }
    });
    (results.collect(), failed_count)
}

/// A number of rows, as the protocol counts them.
pub(in crate::grpc) fn row_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
