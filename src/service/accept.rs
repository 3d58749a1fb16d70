//! Accept: a token and a user become a membership, once.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::domain::access::Access;
use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::invitation::{DeliveryState, Invitation, StateName};
use crate::domain::membership::Membership;
use crate::domain::reason::Reason;
use crate::domain::token::Token;
use crate::domain::user::User;
use crate::store::invitation_row::Found;
use crate::store::subjects::{self, Acceptance, Subject};
use crate::store::{Connection, invitation_row, memberships};

use super::{Service, ServiceError};

/// An attempt to accept.
pub struct Accept {
    /// The token.
    pub token: Token,
    /// Who accepts: their addresses are those the caller has verified.
    pub user: User,
    /// Whether they call themselves. Then one of these addresses must be the invited one, whatever the directory knows.
    pub is_self: bool,
}

/// What came of it.
pub struct AcceptOutcome {
    /// The membership.
    pub membership: Membership,
    /// The invitation.
    pub invitation: Invitation,
    /// Whether the user was a member before.
    pub is_already_member: bool,
}

impl Service {
    /// Accepts an invitation. However many call at once, one user wins; that user may call again.
    pub async fn accept(
        &self,
        request: Accept,
        actor: Actor,
    ) -> Result<AcceptOutcome, ServiceError> {
        let service = self.clone();
        let request = Arc::new((request, actor));
        self.store
            .run("accept", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move {
                    service
                        .accept_once(connection, &request.0, &request.1)
                        .await
                })
            })
            .await
    }

    async fn accept_once(
        &self,
        connection: &mut Connection<'_>,
        request: &Accept,
        actor: &Actor,
    ) -> Result<AcceptOutcome, ServiceError> {
        let Found {
            subject,
            mut invitation,
            version,
        } = self.identify(connection, &request.token, actor).await?;
        let now = self.clock.now();
        let event = self.attempt(actor, &subject, &request.user, now);
        if subject.is_organization_deleted {
            return refuse(connection, &subject, event, Reason::OrganizationInactive).await;
        }
        if subject.is_organization_suspended {
            return refuse(connection, &subject, event, Reason::OrganizationSuspended).await;
        }
        let emails = &request.user.emails_normalized;
        if request.is_self && !subjects::is_for(connection, &subject, emails).await? {
            return refuse(connection, &subject, event, Reason::EmailMismatch).await;
        }
        // A caller for some organizations must not say for all whose an address is; the invited one is proven by the
        // link.
        let invited = std::slice::from_ref(&subject.email_normalized);
        let emails_to_keep = match actor.access {
            Access::Every => emails.as_slice(),
            Access::Only(_) if emails.contains(&subject.email_normalized) => invited,
            Access::Only(_) => &[],
        };
        let acceptance = Acceptance {
            subject: &subject,
            user_id: request.user.id.as_str(),
            user_name: &request.user.name,
            emails_normalized: emails,
            emails_to_keep,
            now,
            version: &version,
            event: &event,
        };
        let accepted = subjects::accept(connection, &acceptance).await?;
        if !accepted.is_claimed
            && let Some(reason) = self.explain(connection, &subject, &request.user).await?
        {
            return refuse(connection, &subject, event, reason).await;
        }
        let organization_id = &subject.organization_id;
        let user_id = request.user.id.as_str();
        let is_already_member = accepted.joined.is_none();
        let membership = match accepted.joined {
            Some(joined) => Some(joined),
            None => memberships::get(connection, organization_id, user_id).await?,
        };
        let Some(membership) = membership else {
            // Accepted, and the membership deleted since: the link does not bring it back.
            return refuse(connection, &subject, event, Reason::AlreadyAccepted).await;
        };
        if accepted.is_as_found && invitation.delivery.state != DeliveryState::Sending {
            invitation.accept(user_id, now);
            if accepted.is_proven {
                let known = invitation.invited_user_id.take();
                let owners = known.into_iter().chain([user_id.to_owned()]);
                invitation.invited_user_id = owners.min();
            }
        } else {
            invitation = self.read(connection, organization_id, subject.id).await?;
        }
        Ok(AcceptOutcome {
            membership,
            invitation,
            is_already_member,
        })
    }

    /// What is written down of an attempt, as if it were accepted.
    fn attempt(
        &self,
        actor: &Actor,
        subject: &Subject,
        user: &User,
        now: OffsetDateTime,
    ) -> AuditEvent {
        let event = self.event(actor, AuditAction::Accept, &subject.organization_id, now);
        let user_id = Some(user.id.as_str().to_owned());
        AuditEvent {
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(|| user_id.clone()),
            subject_user_id: user_id,
            invitation_id: Some(subject.id),
            ..event
        }
    }

    /// Says why an attempt claimed nothing; `None` if the same user had won before.
    async fn explain(
        &self,
        connection: &mut Connection<'_>,
        verified: &Subject,
        user: &User,
    ) -> Result<Option<Reason>, ServiceError> {
        let subject = invitation_row::find(connection, verified.id, self.clock.now())
            .await?
            .map(|found| found.subject)
            .filter(|subject| subject.generation == verified.generation)
            .ok_or(ServiceError::Refused(Reason::TokenInvalid))?;
        if subject.is_organization_deleted {
            return Ok(Some(Reason::OrganizationInactive));
        }
        if subject.is_organization_suspended {
            return Ok(Some(Reason::OrganizationSuspended));
        }
        let state = subject.state(self.clock.now())?;
        let is_same_user = subject.ended_by_user_id.as_deref() == Some(user.id.as_str());
        if state == StateName::Accepted && is_same_user {
            return Ok(None);
        }
        if let Some(reason) = state.refusal() {
            Ok(Some(reason))
        } else if !subjects::is_owned_by(connection, &subject, user).await? {
            Ok(Some(Reason::EmailMismatch))
        } else if !subjects::is_role_offered(connection, &subject).await? {
            Ok(Some(Reason::RoleWithdrawn))
        } else if !subjects::is_inviter_trusted(connection, &subject).await? {
            Ok(Some(Reason::InviterNotAdmin))
        } else {
            // It changed between the attempt and this look, and may succeed now.
            Err(ServiceError::Raced)
        }
    }
}

/// Refuses an attempt whose token is genuine, and writes that down.
async fn refuse<T>(
    connection: &mut Connection<'_>,
    subject: &Subject,
    event: AuditEvent,
    reason: Reason,
) -> Result<T, ServiceError> {
    let event = AuditEvent {
        refusal: Some(reason),
        ..event
    };
    subjects::refuse(connection, subject, &event).await?;
    Err(ServiceError::Refused(reason))
}
