//! The results of a batch: one for each item, in its order.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::invitation::{Delivery, Invitation, InvitationState, InvitationView};
use crate::domain::new_invitation::NewInvitation;
use crate::domain::reason::{Reason, Violation};
use crate::service::invitation_access::{add_links, invitations_by_id};
use crate::service::{ItemOutcome, ItemResult, ServiceError, UnitOfWork};

use super::batch_terms::{BatchTerms, OnExisting};
use super::plan::{CreateStep, Plan};
use super::write::WrittenBatch;

pub struct CreatedBatch {
    /// The id of the batch. Nil for a dry run.
    pub id: Uuid,
    /// One for each item, in the order of the request.
    pub results: Vec<ItemResult>,
}

type Existing = HashMap<Uuid, Invitation>;

pub(super) async fn build(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &Plan,
    written: WrittenBatch,
) -> Result<CreatedBatch, ServiceError> {
    let mut ids = plan.existing_ids();
    ids.extend(written.existing.values());
    let (id, view) = (&terms.organization_id, terms.view_read());
    let existing = invitations_by_id(work, id, &ids, view, plan.now).await?;
    let mut results: Vec<ItemResult> = plan
        .steps
        .iter()
        .zip(written.created)
        .enumerate()
        .map(|(index, (step, created))| match (step, created) {
            (CreateStep::Create(_) | CreateStep::Replace(..), Some(invitation)) => {
                ItemResult::done(step.outcome(), invitation)
            }
            (CreateStep::Create(_) | CreateStep::Replace(..), None) => {
                let id = written.existing.get(&index);
                not_created(terms, id.and_then(|id| existing.get(id)).cloned())
            }
            _ => step.result(&existing),
        })
        .collect();
    if terms.return_link {
        add_links(work, &terms.organization_id, &mut results).await?;
    }
    Ok(CreatedBatch {
        id: written.batch_id,
        results,
    })
}

/// The results that a batch would have. The ids of invitations that would be created are nil.
pub(super) async fn predict(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &Plan,
) -> Result<CreatedBatch, ServiceError> {
    let ids = plan.existing_ids();
    let (id, view) = (&terms.organization_id, terms.view_read());
    let existing = invitations_by_id(work, id, &ids, view, plan.now).await?;
    let results: Vec<ItemResult> = plan
        .steps
        .iter()
        .map(|step| match step {
            CreateStep::Create(item) | CreateStep::Replace(item, _) => {
                let invitation = plan.created(item, Uuid::nil(), Uuid::nil());
                ItemResult::done(step.outcome(), invitation)
            }
            CreateStep::Resend { item, .. } => {
                let mut result = step.result(&existing);
                if let Some(invitation) = &mut result.invitation {
                    invitation.resend(item.expires_at, plan.now);
                }
                result
            }
            CreateStep::Return(_) | CreateStep::Fail { .. } => step.result(&existing),
        })
        .collect();
    Ok(CreatedBatch {
        id: Uuid::nil(),
        results,
    })
}

impl CreateStep {
    const fn outcome(&self) -> ItemOutcome {
        match self {
            Self::Create(_) => ItemOutcome::Created,
            Self::Replace(..) => ItemOutcome::Replaced,
            Self::Resend { .. } => ItemOutcome::Resent,
            Self::Return(_) => ItemOutcome::Existing,
            Self::Fail { .. } => ItemOutcome::Failed,
        }
    }

    const fn existing_id(&self) -> Option<Uuid> {
        match self {
            Self::Resend { id, .. } | Self::Return(id) => Some(*id),
            Self::Fail { pending_id, .. } => *pending_id,
            Self::Create(_) | Self::Replace(..) => None,
        }
    }

    fn result(&self, existing: &Existing) -> ItemResult {
        let (violations, first_index, exceeded) = match self {
            Self::Fail {
                violations,
                first_index,
                exceeded,
                ..
            } => (violations.clone(), *first_index, *exceeded),
            _ => (Vec::new(), None, None),
        };
        ItemResult {
            outcome: self.outcome(),
            invitation: self.existing_id().and_then(|id| existing.get(&id)).cloned(),
            violations,
            first_index,
            exceeded,
            link: None,
        }
    }
}

impl Plan {
    fn existing_ids(&self) -> Vec<Uuid> {
        self.steps
            .iter()
            .filter_map(CreateStep::existing_id)
            .collect()
    }

    /// A new invitation as it is stored, without reading it. Its metadata are only copied for the full view.
    pub(super) fn created(&self, item: &NewInvitation, id: Uuid, batch_id: Uuid) -> Invitation {
        let is_full = self.view == InvitationView::Full;
        let copied = |metadata: &Option<String>| metadata.clone().filter(|_| is_full);
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
            public_metadata: copied(&item.public_metadata),
            private_metadata: copied(&item.private_metadata),
            locale: item.locale.clone(),
            message: item.message.clone(),
            batch_id,
            accept_policy: item.accept_policy,
            created_at: self.now,
            updated_at: self.now,
            expires_at: item.expires_at,
            last_accept_error: None,
            delivery: Delivery::initial(self.now, item.notify),
            reminder_lead: item.reminder_lead,
            remind_at: item.remind_at(self.now),
            omitted_fields: Vec::new(),
        }
    }
}

/// The result of an item whose address had a pending invitation that the plan did not know.
fn not_created(terms: &BatchTerms, pending: Option<Invitation>) -> ItemResult {
    match (terms.on_existing, pending) {
        (OnExisting::Return, Some(pending)) => ItemResult::done(ItemOutcome::Existing, pending),
        (_, invitation) => ItemResult {
            invitation,
            ..ItemResult::failed(vec![Violation::new("email", Reason::AlreadyInvited)])
        },
    }
}
