//! `Decline`: the invited person refuses.

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::UserId;
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::domain::suppression::SuppressionReason;
use crate::store::invitations::{self, EndReason};
use crate::store::subjects::{self, Subject};
use crate::store::{Connection, audit_events};

use super::invitation_access::{InvitationTarget, OwnAddresses, require_organization};
use super::suppression_list::suppress;
use super::{ServiceError, UnitOfWork, UseCase};

/// Declines an invitation. Declining again changes nothing. Not `Debug`, because it may hold addresses.
pub struct Decline {
    pub target: InvitationTarget,
    /// Whether the organization must not invite the address again.
    pub suppress: bool,
    /// The user who declines, if the caller names them.
    pub user_id: Option<UserId>,
    /// Addresses of the user that the caller has verified.
    pub emails_normalized: Vec<String>,
    /// Whether the user calls for themselves. Then one of these addresses must be the invited one, even if the directory
    /// knows others of the user.
    pub is_self: bool,
    pub actor: Actor,
}

impl UseCase for Decline {
    const NAME: &'static str = "decline";
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let context = work.context;
        let found = context
            .find_target(work, &self.target, self.addresses(), &self.actor)
            .await?;
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
            let event =
                context.audit_event(&self.actor, AuditAction::Decline, organization_id, now);
            let named = self.user_id.as_ref().map(|id| id.as_str().to_owned());
            let event = AuditEvent {
                on_behalf_of_user_id: event.on_behalf_of_user_id.or(named),
                invitation_id: Some(subject.id),
                counts: AuditCounts {
                    suppressed: u64::from(self.suppress),
                    ..AuditCounts::default()
                },
                ..event
            };
            audit_events::insert_many(work, &[event]).await?;
        }
        context
            .read_invitation(work, organization_id, subject.id)
            .await
    }
}

impl Decline {
    fn addresses(&self) -> OwnAddresses<'_> {
        OwnAddresses {
            emails_normalized: &self.emails_normalized,
            directory_user_id: self.user_id.as_ref().filter(|_| !self.is_self),
        }
    }

    /// A user who holds a link that anybody may accept may decline it, but only the invited person may suppress the address.
    async fn require_invited_person(
        &self,
        connection: &mut Connection<'_>,
        subject: &Subject,
    ) -> Result<(), ServiceError> {
        let emails = &self.emails_normalized;
        if !self.is_self || emails.contains(&subject.email_normalized) {
            return Ok(());
        }
        if self.suppress || !subjects::is_addressed_to(connection, subject, emails, None).await? {
            return Err(ServiceError::Refused(Reason::EmailMismatch));
        }
        Ok(())
    }
}
