//! Decline: the invited person says no.

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::suppression::SuppressionReason;
use crate::domain::token::Token;
use crate::store::invitations::{self, End};
use crate::store::{Connection, audit_events, subjects};

use super::{Service, ServiceError, feedback};

impl Service {
    /// Declines an invitation; again is fine. With `suppress` the organization may not invite the address any more.
    pub async fn decline(
        &self,
        token: Token,
        actor: Actor,
        suppress: bool,
    ) -> Result<Invitation, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("decline", move |connection| {
                let (service, token, actor) = (service.clone(), token.clone(), actor.clone());
                Box::pin(async move {
                    service
                        .decline_once(connection, &token, &actor, suppress)
                        .await
                })
            })
            .await
    }

    async fn decline_once(
        &self,
        connection: &mut Connection,
        token: &Token,
        actor: &Actor,
        suppress: bool,
    ) -> Result<Invitation, ServiceError> {
        let verified = self.verify(connection, token, actor).await?;
        let now = self.clock.now();
        // Locked and looked at again: an acceptance may have come between.
        let subject = subjects::lock(connection, &verified.organization_id, verified.id)
            .await?
            .filter(|subject| subject.generation == verified.generation)
            .ok_or(ServiceError::Raced)?;
        let state = subject.state(now)?;
        match state {
            StateName::Pending => {
                let target = (subject.id, subject.organization_id.clone());
                invitations::end_many(connection, &[target], End::Declined, now).await?;
            }
            StateName::Declined => {}
            other => {
                return Err(other
                    .refusal()
                    .map_or(ServiceError::Raced, ServiceError::Refused));
            }
        }
        if suppress {
            let tag = self.tagger.tag_of_normalized(&subject.email_normalized);
            let reason = SuppressionReason::Declined;
            feedback::suppress(connection, &subject.organization_id, tag, reason, now).await?;
        }
        // Declining again is no act, unless it asks for more.
        if state == StateName::Pending || suppress {
            let organization_id = &subject.organization_id;
            let event = AuditEvent {
                invitation_id: Some(subject.id),
                counts: AuditCounts {
                    suppressed: u64::from(suppress),
                    ..AuditCounts::default()
                },
                ..self.event(actor, AuditAction::Decline, organization_id, now)
            };
            audit_events::insert_many(connection, &[event]).await?;
        }
        self.read(connection, &subject.organization_id, subject.id)
            .await
    }
}
