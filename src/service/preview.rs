//! `Preview`: what a landing page shows to a person who followed a link. Changes nothing.

use crate::domain::actor::Actor;
use crate::domain::invitation::Invitation;
use crate::domain::token::Token;

use super::ServiceError;
use super::invitation_access::require_active_organization;
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Reads the invitation of a token. Not all of it may be shown.
pub struct PreviewInvitation {
    pub token: Token,
    pub actor: Actor,
}

impl UseCase for PreviewInvitation {
    const NAME: &'static str = "preview";
    const IS_TRANSACTION: bool = false;
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let found = work
            .context
            .verify_token(work, &self.token, &self.actor)
            .await?;
        require_active_organization(&found.subject)?;
        Ok(found.invitation)
    }
}
