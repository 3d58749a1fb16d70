//! `Get`, `BulkGet`, `GetBatch` and `Preview`: invitations by their ids or by a link, and one batch.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::batch::{Batch, BatchCounts};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Invitation, InvitationView};
use crate::domain::reason::Reason;
use crate::domain::token::Token;
use crate::store::{batches, planner};

use super::invitation_access::{invitations_by_id, require_active_organization};
use super::{ServiceError, UnitOfWork, UseCase};

pub struct GetInvitation {
    pub organization_id: OrganizationId,
    pub id: Uuid,
}

impl UseCase for GetInvitation {
    const NAME: &'static str = "get";
    const IS_TRANSACTION: bool = false;
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        work.context
            .read_invitation(work, self.organization_id.as_str(), self.id)
            .await
    }
}

/// Reads those of an organization's invitations that exist.
pub struct BulkGetInvitations {
    pub organization_id: OrganizationId,
    pub ids: Vec<Uuid>,
    pub view: InvitationView,
}

impl UseCase for BulkGetInvitations {
    const NAME: &'static str = "bulk_get";
    const IS_TRANSACTION: bool = false;
    type Output = HashMap<Uuid, Invitation>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let (organization_id, now) = (&self.organization_id, work.context.now());
        work.require_organization(organization_id).await?;
        invitations_by_id(work, organization_id, &self.ids, self.view, now).await
    }
}

/// Reads a batch, and the number of its invitations for each pair of state and delivery state.
pub struct GetBatch {
    pub organization_id: OrganizationId,
    pub id: Uuid,
}

impl UseCase for GetBatch {
    const NAME: &'static str = "get_batch";
    type Output = (Batch, Vec<BatchCounts>);

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        planner::force_custom_plans(work).await?;
        let batch = batches::get(work, &self.organization_id, self.id)
            .await?
            .ok_or(ServiceError::Refused(Reason::BatchNotFound))?;
        let now = work.context.now();
        let counts = batches::counts(work, &self.organization_id, self.id, now).await?;
        Ok((batch, counts))
    }
}

/// Reads the invitation of a token, for a landing page. Not all of it may be shown.
pub struct PreviewInvitation {
    pub token: Token,
    pub actor: Actor,
}

pub struct InvitationPreview {
    pub invitation: Invitation,
    pub role_display_name: String,
}

impl UseCase for PreviewInvitation {
    const NAME: &'static str = "preview";
    const IS_TRANSACTION: bool = false;
    type Output = InvitationPreview;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<InvitationPreview, ServiceError> {
        let context = work.context;
        let found = context.verify_token(work, &self.token, &self.actor).await?;
        require_active_organization(&found.subject)?;
        Ok(InvitationPreview {
            invitation: found.invitation,
            role_display_name: found.role_display_name,
        })
    }
}
