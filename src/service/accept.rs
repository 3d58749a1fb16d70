//! Accept: a token and a user become a membership, once.

use std::sync::Arc;

use crate::domain::access::Access;
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::membership::Membership;
use crate::domain::reason::Reason;
use crate::domain::token::Token;
use crate::domain::user::User;
use crate::store::subjects::{self, Acceptance, Subject};
use crate::store::{Connection, memberships};

use super::{Service, ServiceError};

/// An attempt to accept.
pub struct Accept {
    /// The token.
    pub token: Token,
    /// Who accepts: their addresses are those the caller has verified.
    pub user: User,
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
        access: Access,
    ) -> Result<AcceptOutcome, ServiceError> {
        let service = self.clone();
        let request = Arc::new((request, access));
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
        connection: &mut Connection,
        request: &Accept,
        access: &Access,
    ) -> Result<AcceptOutcome, ServiceError> {
        let subject = self.verify(connection, &request.token, access).await?;
        let emails = &request.user.emails_normalized;
        // A caller for some organizations must not say for all whose an address is; the invited one is proven by the
        // link.
        let invited = std::slice::from_ref(&subject.email_normalized);
        let emails_to_keep = match access {
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
            now: self.clock.now(),
        };
        let accepted = subjects::accept(connection, &acceptance).await?;
        if !accepted.is_claimed {
            self.explain(connection, &subject, &request.user).await?;
        }
        let organization_id = &subject.organization_id;
        let membership = memberships::get(connection, organization_id, request.user.id.as_str())
            .await?
            // Accepted, and the membership deleted since: the link does not bring it back.
            .ok_or(ServiceError::Refused(Reason::AlreadyAccepted))?;
        Ok(AcceptOutcome {
            membership,
            invitation: self.read(connection, organization_id, subject.id).await?,
            is_already_member: !accepted.is_joined,
        })
    }

    /// Says why an attempt claimed nothing, or that the same user had won before.
    async fn explain(
        &self,
        connection: &mut Connection,
        verified: &Subject,
        user: &User,
    ) -> Result<(), ServiceError> {
        let subject = subjects::find(connection, verified.id)
            .await?
            .ok_or(ServiceError::Refused(Reason::TokenInvalid))?;
        if subject.generation != verified.generation {
            return Err(ServiceError::Refused(Reason::TokenInvalid));
        }
        if subject.is_organization_deleted {
            return Err(ServiceError::Refused(Reason::OrganizationInactive));
        }
        let state = subject.state(self.clock.now())?;
        let is_same_user = subject.ended_by_user_id.as_deref() == Some(user.id.as_str());
        if state == StateName::Accepted && is_same_user {
            return Ok(());
        }
        let reason = if let Some(reason) = state.refusal() {
            reason
        } else if !subjects::is_owned_by(connection, &subject, user).await? {
            Reason::EmailMismatch
        } else if !subjects::is_role_offered(connection, &subject).await? {
            Reason::RoleWithdrawn
        } else if !subjects::is_inviter_trusted(connection, &subject).await? {
            Reason::InviterNotAdmin
        } else {
            // It changed between the attempt and this look, and may succeed now.
            return Err(ServiceError::Raced);
        };
        subjects::set_last_accept_error(connection, &subject, reason).await?;
        Err(ServiceError::Refused(reason))
    }
}
