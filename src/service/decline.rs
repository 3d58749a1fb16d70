//! Decline: the invited person says no.

use std::sync::Arc;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::domain::suppression::SuppressionReason;
use crate::domain::token::Token;
use crate::store::invitations::{self, End};
use crate::store::{Connection, audit_events, subjects};

use super::{Service, ServiceError, feedback};

/// A no. Not `Debug`: it may hold an address.
pub struct Decline {
    /// The token.
    pub token: Token,
    /// Whether the organization may not invite the address any more.
    pub suppress: bool,
    /// The verified address of a user who calls themselves, which must be the invited one. A service is believed.
    pub email_normalized: Option<String>,
}

impl Service {
    /// Declines an invitation; again is fine.
    pub async fn decline(
        &self,
        request: Decline,
        actor: Actor,
    ) -> Result<Invitation, ServiceError> {
        let service = self.clone();
        let request = Arc::new((request, actor));
        self.store
            .with_tx("decline", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move {
                    service
                        .decline_once(connection, &request.0, &request.1)
                        .await
                })
            })
            .await
    }

    async fn decline_once(
        &self,
        connection: &mut Connection<'_>,
        request: &Decline,
        actor: &Actor,
    ) -> Result<Invitation, ServiceError> {
        let found = self.verify(connection, &request.token, actor).await?;
        let verified = found.subject;
        if let Some(email) = &request.email_normalized {
            // Whom the organization may not invite any more is said by that person alone, whoever may take the link.
            let is_theirs = *email == verified.email_normalized;
            let emails = std::slice::from_ref(email);
            if !is_theirs
                && (request.suppress || !subjects::is_for(connection, &verified, emails).await?)
            {
                return Err(ServiceError::Refused(Reason::EmailMismatch));
            }
        }
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
        if request.suppress {
            let tag = self.tagger.tag_of_normalized(&subject.email_normalized);
            let reason = SuppressionReason::Declined;
            feedback::suppress(connection, &subject.organization_id, tag, reason, now).await?;
        }
        // Declining again is no act, unless it asks for more.
        if state == StateName::Pending || request.suppress {
            let organization_id = &subject.organization_id;
            let event = AuditEvent {
                invitation_id: Some(subject.id),
                counts: AuditCounts {
                    suppressed: u64::from(request.suppress),
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
