//! The answer to a request: one result for each item, in its order.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Delivery, Invitation, InvitationState};
use crate::domain::new_invitation::NewInvitation;
use crate::domain::reason::{Reason, Violation};
use crate::store::subjects;
use crate::store::{Connection, invitation_row};

use super::plan::{Plan, Step};
use super::write::Written;
use super::{Batch, BulkCreate, ItemResult, OnExisting, Outcome};
use crate::service::{Service, ServiceError};

/// Most metadata of existing invitations in one answer, in bytes of JSON. With what a request of 16 MiB can ask for,
/// an answer stays within the 32 MiB that a message may have.
const EXISTING_METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most redirect URLs and personal notes of existing invitations in one answer, in bytes: a request that names only ids
/// asks for little and may be answered with much.
const EXISTING_TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Service {
    /// The answer of a call that has been carried out.
    pub(super) async fn answer(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
        written: Written,
    ) -> Result<Batch, ServiceError> {
        let mut existing = existing_ids(plan);
        existing.extend(written.overtaken.values());
        let existing = self.read_existing(connection, request, &existing).await?;
        let mut results: Vec<ItemResult> = plan
            .steps
            .iter()
            .zip(written.fresh)
            .enumerate()
            .map(|(index, (step, fresh))| match step {
                Step::Create(_) | Step::Replace(..) => match fresh {
                    Some(invitation) => ItemResult::done(step.outcome(), invitation),
                    None => overtaken(request, written.overtaken.get(&index), &existing),
                },
                _ => settled(step, &existing),
            })
            .collect();
        shorten(&mut results);
        if request.return_link {
            self.add_links(connection, &request.organization_id, &mut results)
                .await?;
        }
        Ok(Batch {
            id: written.batch_id,
            results,
        })
    }

    /// The answer a call would give. Ids of what is not made are nil.
    pub(super) async fn foretell(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
    ) -> Result<Batch, ServiceError> {
        let existing = self
            .read_existing(connection, request, &existing_ids(plan))
            .await?;
        let mut results: Vec<ItemResult> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Create(item) | Step::Replace(item, _) => {
                    ItemResult::done(step.outcome(), plan.fresh(item, Uuid::nil(), Uuid::nil()))
                }
                Step::Resend { item, id, .. } => {
                    let mut result = settled(step, &existing);
                    if let (Some(invitation), true) =
                        (&mut result.invitation, existing.contains_key(id))
                    {
                        invitation.resend(item.expires_at, plan.now);
                    }
                    result
                }
                _ => settled(step, &existing),
            })
            .collect();
        shorten(&mut results);
        Ok(Batch {
            id: Uuid::nil(),
            results,
        })
    }

    /// Adds the links of all invitations that have an id.
    pub(super) async fn add_links(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        results: &mut [ItemResult],
    ) -> Result<(), ServiceError> {
        let ids: Vec<Uuid> = results
            .iter()
            .filter(|result| result.outcome != Outcome::Failed)
            .filter_map(|result| Some(result.invitation.as_ref()?.id))
            .collect();
        let subjects = subjects::find_many(connection, organization_id, &ids).await?;
        let subjects: HashMap<Uuid, _> = subjects
            .iter()
            .filter(|subject| !subject.is_erased())
            .map(|subject| (subject.id, subject))
            .collect();
        for result in results
            .iter_mut()
            .filter(|result| result.outcome != Outcome::Failed)
        {
            if let Some(invitation) = &result.invitation
                && let Some(subject) = subjects.get(&invitation.id)
            {
                result.link = Some(self.link(subject, &invitation.redirect_url)?);
            }
        }
        Ok(())
    }

    async fn read_existing(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Invitation>, ServiceError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let organization_id = request.organization_id.as_str();
        let found =
            invitation_row::get_many(connection, organization_id, ids, self.clock.now()).await?;
        Ok(found
            .into_iter()
            .map(|invitation| (invitation.id, invitation))
            .collect())
    }
}

impl Step {
    const fn outcome(&self) -> Outcome {
        match self {
            Self::Create(_) => Outcome::Created,
            Self::Replace(..) => Outcome::Replaced,
            Self::Resend { .. } => Outcome::Resent,
            Self::Return(_) => Outcome::Existing,
            Self::Fail { .. } => Outcome::Failed,
        }
    }

    const fn existing_id(&self) -> Option<Uuid> {
        match self {
            Self::Resend { id, .. } | Self::Return(id) => Some(*id),
            Self::Fail { pending_id, .. } => *pending_id,
            Self::Create(_) | Self::Replace(..) => None,
        }
    }
}

impl Plan {
    /// A new invitation as it stands in the database, without reading it back.
    pub(super) fn fresh(&self, item: &NewInvitation, id: Uuid, batch_id: Uuid) -> Invitation {
        let json = |text: &Option<String>| {
            text.as_deref()
                .and_then(|text| serde_json::from_str(text).ok())
        };
        let inviter = self.inviters.get(item.inviter_user_id.as_str());
        Invitation {
            id,
            organization_id: self.organization.id.as_str().to_owned(),
            organization_name: self.organization.name.clone(),
            email: item.email.given().to_owned(),
            role: item.role.as_str().to_owned(),
            state: InvitationState::Pending,
            inviter_user_id: item.inviter_user_id.as_str().to_owned(),
            inviter_name: inviter
                .map(|inviter| inviter.name.clone())
                .unwrap_or_default(),
            invited_user_id: self.owners.get(item.email.normalized()).cloned(),
            redirect_url: item.redirect_url.clone(),
            public_metadata: json(&item.public_metadata),
            private_metadata: json(&item.private_metadata),
            locale: item.locale.clone(),
            message: item.message.clone(),
            batch_id,
            accept_policy: item.accept_policy,
            created_at: self.now,
            updated_at: self.now,
            expires_at: item.expires_at,
            last_accept_error: None,
            delivery: Delivery::starting(self.now, item.notify),
            reminder_lead: item.reminder_lead,
            remind_at: item.remind_at(self.now),
        }
    }
}

/// Leaves the metadata of existing invitations out where there is too much of it, and their URLs and notes where those
/// are: what was committed must be answerable.
pub(in crate::service) fn shorten(results: &mut [ItemResult]) {
    let bytes = |value: &Option<Value>| value.as_ref().map_or(0, |json| json.to_string().len());
    let mut existing: Vec<&mut Invitation> = results
        .iter_mut()
        .filter(|result| !matches!(result.outcome, Outcome::Created | Outcome::Replaced))
        .filter_map(|result| result.invitation.as_mut())
        .collect();
    let total: usize = existing
        .iter()
        .map(|invitation| bytes(&invitation.public_metadata) + bytes(&invitation.private_metadata))
        .sum();
    if total > EXISTING_METADATA_BYTES_MAX {
        for invitation in &mut existing {
            invitation.public_metadata = None;
            invitation.private_metadata = None;
        }
    }
    let total: usize = existing
        .iter()
        .map(|invitation| invitation.redirect_url.len() + invitation.message.len())
        .sum();
    if total > EXISTING_TEXT_BYTES_MAX {
        for invitation in &mut existing {
            invitation.redirect_url = String::new();
            invitation.message = String::new();
        }
    }
}

fn existing_ids(plan: &Plan) -> Vec<Uuid> {
    plan.steps.iter().filter_map(Step::existing_id).collect()
}

/// The result of an item that made no new invitation.
fn settled(step: &Step, existing: &HashMap<Uuid, Invitation>) -> ItemResult {
    let (violations, first_index, exceeded) = match step {
        Step::Fail {
            violations,
            first_index,
            exceeded,
            ..
        } => (violations.clone(), *first_index, *exceeded),
        _ => (Vec::new(), None, None),
    };
    ItemResult {
        outcome: step.outcome(),
        invitation: step.existing_id().and_then(|id| existing.get(&id)).cloned(),
        violations,
        first_index,
        exceeded,
        link: None,
    }
}

/// The result of an item whose address another call invited in the same moment.
fn overtaken(
    request: &BulkCreate<'_>,
    id: Option<&Uuid>,
    existing: &HashMap<Uuid, Invitation>,
) -> ItemResult {
    let invitation = id.and_then(|id| existing.get(id)).cloned();
    if request.on_existing == OnExisting::Return
        && let Some(invitation) = invitation
    {
        return ItemResult::done(Outcome::Existing, invitation);
    }
    ItemResult {
        invitation,
        ..ItemResult::failed(vec![Violation::new("email", Reason::AlreadyInvited)])
    }
}
