//! `Decline`: the invited person refuses.

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::domain::suppression::SuppressionReason;
use crate::domain::token::Token;
use crate::store::invitations::{self, EndReason};
use crate::store::subjects::{self, Subject};
use crate::store::{Connection, audit_events};

use super::invitation_access::require_organization;
use super::suppression_list::suppress;
use super::{ServiceError, UnitOfWork, UseCase};

/// Declines an invitation. Declining again changes nothing. Not `Debug`, because it may hold an address.
pub struct Decline {
    pub token: Token,
    /// Whether the organization must not invite the address again.
    pub suppress: bool,
    /// The verified address of a user who calls for themselves, which must be the invited one. `None` for a service.
    pub email_normalized: Option<String>,
    pub actor: Actor,
}

impl UseCase for Decline {
    const NAME: &'static str = "decline";
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let context = work.context;
        let found = context.verify_token(work, &self.token, &self.actor).await?;
        let verified = found.subject;
        require_organization(&verified)?;
        self.require_invited_person(work, &verified).await?;
        let now = work.context.now();
        // Locked and read again, because the invitation may have been accepted since the first read.
        let subject = subjects::lock(work, &verified.organization_id, verified.id)
            .await?
            .filter(|subject| subject.generation == verified.generation)
            .ok_or(ServiceError::Conflict)?;
        let state = subject.state(now)?;
        match state {
            StateName::Pending => {
                let target = (subject.id, subject.organization_id.clone());
                invitations::end_many(work, &[target], EndReason::Declined, now).await?;
            }
            StateName::Declined => {}
            other => {
                let refusal = other.refusal();
                return Err(refusal.map_or(ServiceError::Conflict, ServiceError::Refused));
            }
        }
        let organization_id = &subject.organization_id;
        if self.suppress {
            let tagger = work.context.suppression.tagger();
            let tag = tagger.tag_of_normalized(&subject.email_normalized);
            suppress(work, organization_id, tag, SuppressionReason::Declined, now).await?;
        }
        // Declining again is recorded only if it also suppresses.
        if state == StateName::Pending || self.suppress {
            let event = AuditEvent {
                invitation_id: Some(subject.id),
                counts: AuditCounts {
                    suppressed: u64::from(self.suppress),
                    ..AuditCounts::default()
                },
                ..context.audit_event(&self.actor, AuditAction::Decline, organization_id, now)
            };
            audit_events::insert_many(work, &[event]).await?;
        }
        context
            .read_invitation(work, organization_id, subject.id)
            .await
    }
}

impl Decline {
    /// A user who holds a link that anybody may accept may decline it, but only the invited person may suppress the address.
    async fn require_invited_person(
        &self,
        connection: &mut Connection<'_>,
        subject: &Subject,
    ) -> Result<(), ServiceError> {
        let Some(email) = &self.email_normalized else {
            return Ok(());
        };
        if *email == subject.email_normalized {
            return Ok(());
        }
        let emails = std::slice::from_ref(email);
        if self.suppress || !subjects::is_addressed_to(connection, subject, emails, None).await? {
            return Err(ServiceError::Refused(Reason::EmailMismatch));
        }
        Ok(())
    }
}
