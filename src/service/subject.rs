//! From a token or an id to the row it means: the checks every such use case starts with.

use uuid::Uuid;

use super::{Service, ServiceError};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::reason::Reason;
use crate::domain::token::Token;
use crate::store::Connection;
use crate::store::invitation_row::{self, Found};
use crate::store::subjects::{self, Subject};

impl Service {
    /// The row of a genuine token.
    ///
    /// # Errors
    ///
    /// `TOKEN_INVALID`, the same in content and in time, for an unknown id, a wrong secret and an organization the
    /// caller may not act for; `ORGANIZATION_INACTIVE` once the token has proven itself.
    pub(super) async fn verify(
        &self,
        connection: &mut Connection<'_>,
        token: &Token,
        actor: &Actor,
    ) -> Result<Found, ServiceError> {
        let found = self.identify(connection, token, actor).await?;
        if found.subject.is_organization_deleted {
            return Err(ServiceError::Refused(Reason::OrganizationInactive));
        }
        Ok(found)
    }

    /// As [`verify`](Self::verify), whether or not the organization was deleted.
    pub(super) async fn identify(
        &self,
        connection: &mut Connection<'_>,
        token: &Token,
        actor: &Actor,
    ) -> Result<Found, ServiceError> {
        // No token is of a row that lost its address.
        let found =
            invitation_row::find(connection, token.invitation_id(), self.clock.now()).await?;
        let Some(found) = found.filter(|found| !found.subject.is_erased()) else {
            token.reject(&self.keyring);
            return Err(ServiceError::Refused(Reason::TokenInvalid));
        };
        let subject = &found.subject;
        let is_genuine = token.is_of(&self.keyring, subject.key_id()?, &subject.token_subject()?);
        if !is_genuine || !actor.access.allows(&subject.organization_id) {
            return Err(ServiceError::Refused(Reason::TokenInvalid));
        }
        Ok(found)
    }

    /// The row of a genuine token whose organization may let people in.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), and `ORGANIZATION_SUSPENDED`.
    pub(super) async fn verify_active(
        &self,
        connection: &mut Connection<'_>,
        token: &Token,
        actor: &Actor,
    ) -> Result<Found, ServiceError> {
        let found = self.verify(connection, token, actor).await?;
        if found.subject.is_organization_suspended {
            return Err(ServiceError::Refused(Reason::OrganizationSuspended));
        }
        Ok(found)
    }

    /// Locks an invitation of an organization.
    pub(super) async fn lock(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        id: Uuid,
    ) -> Result<Subject, ServiceError> {
        subjects::lock(connection, organization_id.as_str(), id)
            .await?
            .ok_or(ServiceError::Refused(Reason::InvitationNotFound))
    }

    /// Reads an invitation back as it is now.
    pub(super) async fn read(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &str,
        id: Uuid,
    ) -> Result<Invitation, ServiceError> {
        let found =
            invitation_row::get_many(connection, organization_id, &[id], self.clock.now()).await?;
        found
            .into_iter()
            .next()
            .ok_or(ServiceError::Refused(Reason::InvitationNotFound))
    }

    /// The link of an invitation.
    pub(super) fn link(
        &self,
        subject: &Subject,
        redirect_url: &str,
    ) -> Result<String, ServiceError> {
        let token = Token::derive(&self.keyring, subject.key_id()?, &subject.token_subject()?)
            .ok_or(ServiceError::Corrupt(
                "a row names a key that is not loaded",
            ))?;
        Ok(self.links.link(&token, redirect_url))
    }
}
