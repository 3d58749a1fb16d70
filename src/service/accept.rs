//! `Accept`: an invitation and a user become a membership, once.

use crate::domain::actor::{Access, Actor};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::invitation::{DeliveryState, Invitation, StateName};
use crate::domain::membership::Membership;
use crate::domain::reason::Reason;
use crate::domain::user::User;
use crate::store::acceptances::{self, Acceptance};
use crate::store::stored_invitations::VersionedInvitation;
use crate::store::subjects::{self, Subject};
use crate::store::{memberships, stored_invitations};

use super::invitation_access::{InvitationTarget, OwnAddresses, require_active_organization};
use super::{Context, ServiceError, UnitOfWork, UseCase};

/// Accepts an invitation. Of any number of concurrent calls one user wins. The same user may call again.
///
/// Not one transaction: the acceptance is one statement, and a refusal is recorded by another.
pub struct Accept {
    pub target: InvitationTarget,
    /// The user. The caller has verified the addresses.
    pub user: User,
    /// Whether the user calls for themselves. Then one of these addresses must be the invited one, even if the directory
    /// knows others of the user.
    pub is_self: bool,
    pub actor: Actor,
}

pub struct AcceptedInvitation {
    pub membership: Membership,
    pub invitation: Invitation,
    pub is_already_member: bool,
}

impl UseCase for Accept {
    const NAME: &'static str = "accept";
    const IS_TRANSACTION: bool = false;
    type Output = AcceptedInvitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<AcceptedInvitation, ServiceError> {
        let context = work.context;
        let VersionedInvitation {
            subject,
            invitation,
            version,
            ..
        } = context
            .find_target(work, &self.target, self.addresses(), &self.actor)
            .await?;
        let event = self.audit_event(context, &subject);
        let attempt = Attempt {
            request: self,
            subject: &subject,
            version: &version,
            event: &event,
        };
        let accepted = attempt.accept(work, invitation).await;
        if let Err(ServiceError::Refused(reason)) = accepted {
            let event = AuditEvent {
                refusal: Some(reason),
                ..event
            };
            acceptances::record_refusal(work, &subject, &event).await?;
        }
        accepted
    }
}

impl Accept {
    fn addresses(&self) -> OwnAddresses<'_> {
        OwnAddresses {
            emails_normalized: &self.user.emails_normalized,
            directory_user_id: Some(&self.user.id).filter(|_| !self.is_self),
        }
    }

    const fn is_by_id(&self) -> bool {
        matches!(self.target, InvitationTarget::Id(_))
    }

    fn audit_event(&self, context: &Context, subject: &Subject) -> AuditEvent {
        let event = context.audit_event(
            &self.actor,
            AuditAction::Accept,
            &subject.organization_id,
            context.now(),
        );
        let user_id = Some(self.user.id.as_str().to_owned());
        AuditEvent {
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(|| user_id.clone()),
            subject_user_id: user_id,
            invitation_id: Some(subject.id),
            ..event
        }
    }
}

/// One attempt, by a genuine token or by the owner of the invited address.
struct Attempt<'a> {
    request: &'a Accept,
    subject: &'a Subject,
    version: &'a str,
    event: &'a AuditEvent,
}

impl Attempt<'_> {
    async fn accept(
        &self,
        work: &mut UnitOfWork<'_>,
        found: Invitation,
    ) -> Result<AcceptedInvitation, ServiceError> {
        let (subject, user) = (self.subject, &self.request.user);
        require_active_organization(subject)?;
        let emails = &user.emails_normalized;
        if self.request.is_self && !subjects::is_addressed_to(work, subject, emails, None).await? {
            return Err(ServiceError::Refused(Reason::EmailMismatch));
        }
        let acceptance = Acceptance {
            subject,
            user_id: user.id.as_str(),
            user_name: &user.name,
            emails_normalized: emails,
            emails_to_keep: self.emails_to_keep(),
            is_policy_ignored: self.request.is_by_id(),
            version: self.version,
            event: self.event,
        };
        let accepted = acceptances::accept(work, &acceptance).await?;
        if !accepted.is_accepted {
            self.require_same_user(work).await?;
        }
        let organization_id = &subject.organization_id;
        let is_already_member = accepted.membership.is_none();
        let membership = match accepted.membership {
            Some(joined) => Some(joined),
            None => memberships::get(work, organization_id, user.id.as_str()).await?,
        };
        // The invitation was accepted and the membership deleted since. The link does not create it again.
        let membership = membership.ok_or(ServiceError::Refused(Reason::AlreadyAccepted))?;
        let is_unchanged = accepted.is_as_read && found.delivery.state != DeliveryState::Sending;
        let invitation = if is_unchanged {
            self.after_acceptance(found, accepted.is_email_added)
        } else {
            work.context
                .read_invitation(work, organization_id, subject.id)
                .await?
        };
        Ok(AcceptedInvitation {
            membership,
            invitation,
            is_already_member,
        })
    }

    /// The addresses that the directory stores for the user. A caller that is limited to some organizations must not decide
    /// for all of them whose an address is. The link proves the invited address, and an id proves nothing.
    fn emails_to_keep(&self) -> &[String] {
        let emails = &self.request.user.emails_normalized;
        let invited = &self.subject.email_normalized;
        match self.request.actor.access {
            Access::Every => emails,
            Access::Only(_) if !self.request.is_by_id() && emails.contains(invited) => {
                std::slice::from_ref(invited)
            }
            Access::Only(_) => &[],
        }
    }

    /// The invitation after its acceptance, without reading it again.
    fn after_acceptance(&self, mut invitation: Invitation, is_proven: bool) -> Invitation {
        let user_id = self.request.user.id.as_str();
        invitation.accept(user_id, self.event.created_at);
        if is_proven {
            let known = invitation.invited_user_id.take();
            invitation.invited_user_id = known.into_iter().chain([user_id.to_owned()]).min();
        }
        invitation
    }

    /// Finds out why an attempt changed nothing. Succeeds if the same user accepted before.
    async fn require_same_user(&self, work: &mut UnitOfWork<'_>) -> Result<(), ServiceError> {
        let (user, now) = (&self.request.user, work.context.now());
        let subject = stored_invitations::find(work, self.subject.id, now)
            .await?
            .map(|found| found.subject)
            .filter(|subject| subject.generation == self.subject.generation);
        let Some(subject) = subject else {
            // The token was replaced meanwhile. Such an attempt is not recorded.
            return Err(ServiceError::Conflict);
        };
        require_active_organization(&subject)?;
        let state = subject.state(now)?;
        let is_same_user = subject.ended_by_user_id.as_deref() == Some(user.id.as_str());
        if state == StateName::Accepted && is_same_user {
            return Ok(());
        }
        let emails = &user.emails_normalized;
        let reason = if let Some(reason) = state.refusal() {
            reason
        } else if !self.request.is_by_id()
            && !subjects::is_addressed_to(work, &subject, emails, Some(&user.id)).await?
        {
            Reason::EmailMismatch
        } else if !acceptances::is_role_offered(work, &subject).await? {
            Reason::RoleWithdrawn
        } else if !acceptances::is_inviter_trusted(work, &subject).await? {
            Reason::InviterCannotInvite
        } else {
            // The invitation or the addresses of the user changed between the attempt and this read. A retry may succeed.
            return Err(ServiceError::Conflict);
        };
        Err(ServiceError::Refused(reason))
    }
}
