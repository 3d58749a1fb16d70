//! Resend: a new mail for an invitation that still can be taken, or expired before it was.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::entropy;
use crate::store::invitations::{self, Resending};
use crate::store::{Connection, Constraint, StoreError, audit_events, organizations};

use super::quota::Taking;
use super::{Service, ServiceError};

/// What to mail again.
#[derive(Debug, Clone)]
pub struct Resend {
    /// Who asks.
    pub actor: Actor,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The invitation.
    pub id: Uuid,
    /// Whether links that were mailed before stop working.
    pub rotate_token: bool,
    /// When it expires now.
    pub expiry: Expiry,
}

impl Service {
    /// Mails an invitation again and renews its expiry.
    pub async fn resend(&self, request: Resend) -> Result<Invitation, ServiceError> {
        let service = self.clone();
        let invitation = self
            .store
            .with_tx("resend", move |connection| {
                let (service, request) = (service.clone(), request.clone());
                Box::pin(async move { service.resend_once(connection, &request).await })
            })
            .await?;
        Ok(invitation)
    }

    async fn resend_once(
        &self,
        connection: &mut Connection<'_>,
        request: &Resend,
    ) -> Result<Invitation, ServiceError> {
        let now = self.clock.now();
        let expires_at = request
            .expiry
            .resolve(now)
            .map_err(|reason| ServiceError::invalid(request.expiry.field(), reason))?;
        // Held before the invitation is, as by every call that makes one pending: nobody deletes it meanwhile.
        organizations::hold(connection, &request.organization_id).await?;
        let subject = self
            .lock(connection, &request.organization_id, request.id)
            .await?;
        if subject.is_organization_deleted {
            return Err(ServiceError::Refused(Reason::OrganizationInactive));
        }
        if subject.is_organization_suspended {
            return Err(ServiceError::Refused(Reason::OrganizationSuspended));
        }
        let state = subject.state(now)?;
        let is_expired = state == StateName::Expired;
        if let Some(reason) = state.refusal().filter(|_| !is_expired) {
            return Err(ServiceError::Refused(reason));
        }
        if subject.is_erased() {
            return Err(ServiceError::Refused(Reason::AddressErased));
        }
        let organization_id = &request.organization_id;
        let emails = [subject.email_normalized.as_str()];
        let suppressed = self.suppressed(connection, organization_id, &emails);
        if !suppressed.await?.is_empty() {
            return Err(ServiceError::Refused(Reason::EmailSuppressed));
        }
        let mailed = self
            .mailed(connection, organization_id, &[request.id], now)
            .await?;
        if let Some(exceeded) = self.resend_obstacle(&mailed, request.id, now) {
            return Err(ServiceError::Exhausted(vec![exceeded]));
        }
        let resending = Resending {
            id: request.id,
            expires_at,
            nonce: (request.rotate_token || is_expired).then(entropy::random_bytes),
            send_seq: None,
        };
        let key_id = self.keyring.active();
        invitations::resend_many(connection, organization_id, &[resending], key_id, now)
            .await
            .map_err(|error| match error {
                StoreError::Conflict(Constraint::InvitationsPending, _) => {
                    ServiceError::Refused(Reason::AlreadyInvited)
                }
                other => other.into(),
            })?;
        let event = AuditEvent {
            invitation_id: Some(request.id),
            counts: AuditCounts {
                resent: 1,
                rotated: u64::from(resending.nonce.is_some()),
                ..AuditCounts::default()
            },
            ..self.event(
                &request.actor,
                AuditAction::Resend,
                organization_id.as_str(),
                now,
            )
        };
        audit_events::insert_many(connection, &[event]).await?;
        let resent = self
            .read(connection, organization_id.as_str(), request.id)
            .await?;
        let taking = Taking {
            organization_id,
            recipients: 1,
            new_pending: usize::from(is_expired),
            addresses: emails.iter().map(|email| self.hasher.hash(email)).collect(),
        };
        match self.take(connection, taking, now).await? {
            None => Ok(resent),
            Some(quota) => Err(ServiceError::Exhausted(vec![
                self.quotas.exceeded(quota, now),
            ])),
        }
    }
}
