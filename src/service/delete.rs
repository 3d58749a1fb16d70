//! Deleting organizations, users and memberships: whoever is gone leaves no open invitation behind.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, End};
use crate::store::{Connection, audit_events, memberships, organizations, users};

use super::audit::NO_ORGANIZATION;
use super::{Service, ServiceError};

/// What a deletion took with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Pending invitations that were revoked.
    pub revoked_invitations: u64,
    /// Memberships that were deleted.
    pub memberships: u64,
    /// Verified addresses that were deleted.
    pub emails: u64,
}

/// How many pending invitations were revoked, by organization.
type Revoked = BTreeMap<String, u64>;

impl Service {
    /// Deletes an organization, its memberships and its pending invitations.
    pub async fn delete_organization(
        &self,
        id: OrganizationId,
        actor: Actor,
    ) -> Result<Deleted, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("delete_organization", move |connection| {
                let (service, id, actor) = (service.clone(), id.clone(), actor.clone());
                Box::pin(async move {
                    if !organizations::mark_deleted(connection, &id, service.clock.now()).await? {
                        return Err(ServiceError::Refused(Reason::OrganizationNotFound));
                    }
                    let organization_ids = [id.as_str().to_owned()];
                    let revoked = service
                        .revoke_all(connection, &organization_ids, None)
                        .await?;
                    let deleted = Deleted {
                        revoked_invitations: revoked.values().sum(),
                        memberships: memberships::delete_of_organization(connection, &id).await?,
                        emails: 0,
                    };
                    let action = AuditAction::DeleteOrganization;
                    let event = service.gone(&actor, action, id.as_str(), deleted, None);
                    audit_events::insert_many(connection, &[event]).await?;
                    Ok(deleted)
                })
            })
            .await
    }

    /// Deletes a user, their name, addresses and memberships, and the pending invitations they made. Invitations that others
    /// made for their addresses stay: who they are about is a matter of the address, not of the user.
    pub async fn delete_user(&self, id: UserId, actor: Actor) -> Result<Deleted, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("delete_user", move |connection| {
                let (service, id, actor) = (service.clone(), id.clone(), actor.clone());
                Box::pin(async move {
                    let emails = users::delete(connection, &id)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::UserNotFound))?;
                    // Inviting takes a membership, and losing one revokes: these are all there can be.
                    let organization_ids = memberships::delete_of_user(connection, &id).await?;
                    let revoked = service
                        .revoke_all(connection, &organization_ids, Some(&id))
                        .await?;
                    let deleted = Deleted {
                        revoked_invitations: revoked.values().sum(),
                        memberships: u64::try_from(organization_ids.len()).unwrap_or(u64::MAX),
                        emails,
                    };
                    // Told to each organization they were in, and once where everything is counted.
                    let gone = |organization_id: &str, deleted| {
                        let action = AuditAction::DeleteUser;
                        service.gone(&actor, action, organization_id, deleted, Some(&id))
                    };
                    let mut events = vec![gone(NO_ORGANIZATION, deleted)];
                    events.extend(organization_ids.iter().map(|organization_id| {
                        let deleted = Deleted {
                            revoked_invitations: revoked
                                .get(organization_id)
                                .copied()
                                .unwrap_or_default(),
                            memberships: 1,
                            emails: 0,
                        };
                        gone(organization_id, deleted)
                    }));
                    audit_events::insert_many(connection, &events).await?;
                    Ok(deleted)
                })
            })
            .await
    }

    /// Deletes a membership, and the pending invitations its user made in the organization.
    pub async fn delete_membership(
        &self,
        organization_id: OrganizationId,
        user_id: UserId,
        actor: Actor,
    ) -> Result<Deleted, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("delete_membership", move |connection| {
                let (service, actor) = (service.clone(), actor.clone());
                let (organization_id, user_id) = (organization_id.clone(), user_id.clone());
                Box::pin(async move {
                    if !memberships::delete(connection, &organization_id, &user_id).await? {
                        return Err(ServiceError::Refused(Reason::MembershipNotFound));
                    }
                    let organization_ids = [organization_id.as_str().to_owned()];
                    let revoked = service
                        .revoke_all(connection, &organization_ids, Some(&user_id))
                        .await?;
                    let deleted = Deleted {
                        revoked_invitations: revoked.values().sum(),
                        memberships: 1,
                        emails: 0,
                    };
                    let [id] = &organization_ids;
                    let action = AuditAction::DeleteMembership;
                    let event = service.gone(&actor, action, id, deleted, Some(&user_id));
                    audit_events::insert_many(connection, &[event]).await?;
                    Ok(deleted)
                })
            })
            .await
    }

    async fn revoke_all(
        &self,
        connection: &mut Connection<'_>,
        organization_ids: &[String],
        inviter: Option<&UserId>,
    ) -> Result<Revoked, ServiceError> {
        let targets =
            invitations::pending_of(connection, organization_ids, inviter.map(UserId::as_str))
                .await?;
        let end = End::Revoked { by_user_id: None };
        let ended = invitations::end_many(connection, &targets, end, self.clock.now()).await?;
        let ended: HashSet<Uuid> = ended.into_iter().collect();
        let mut revoked = Revoked::new();
        for (id, organization_id) in targets {
            if ended.contains(&id) {
                *revoked.entry(organization_id).or_default() += 1;
            }
        }
        Ok(revoked)
    }

    /// What is written down of a deletion.
    fn gone(
        &self,
        actor: &Actor,
        action: AuditAction,
        organization_id: &str,
        deleted: Deleted,
        user_id: Option<&UserId>,
    ) -> AuditEvent {
        AuditEvent {
            subject_user_id: user_id.map(|id| id.as_str().to_owned()),
            counts: AuditCounts {
                deleted: deleted.memberships,
                revoked: deleted.revoked_invitations,
                ..AuditCounts::default()
            },
            ..self.event(actor, action, organization_id, self.clock.now())
        }
    }
}
