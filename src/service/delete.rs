//! Deleting organizations, users and memberships, with the pending invitations that they leave behind.

use std::collections::{BTreeMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, NO_ORGANIZATION};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, EndReason};
use crate::store::{Connection, audit_events, memberships, organizations, users};

use super::{ServiceError, UnitOfWork, UseCase};

/// Deletes an organization, its memberships and its pending invitations.
pub struct DeleteOrganization {
    pub organization_id: OrganizationId,
    pub actor: Actor,
}

/// Deletes a user with name, addresses and memberships, and revokes the pending invitations that the user made. Invitations
/// to the addresses of the user stay.
pub struct DeleteUser {
    pub user_id: UserId,
    pub actor: Actor,
}

/// Deletes a membership, and revokes the pending invitations that the user made in the organization.
pub struct DeleteMembership {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub actor: Actor,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    pub revoked_invitations: u64,
    pub memberships: u64,
    pub emails: u64,
}

impl UseCase for DeleteOrganization {
    const NAME: &'static str = "delete_organization";
    type Output = Deleted;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Deleted, ServiceError> {
        let (id, now) = (&self.organization_id, work.context.now());
        if !organizations::mark_deleted(work, id, now).await? {
            return Err(ServiceError::Refused(Reason::OrganizationNotFound));
        }
        let revoked = revoke_pending(work, &[id.as_str().to_owned()], None, now).await?;
        let deleted = Deleted {
            revoked_invitations: revoked.values().sum(),
            memberships: memberships::delete_of_organization(work, id).await?,
            emails: 0,
        };
        let (action, counts) = (AuditAction::DeleteOrganization, deleted.counts());
        work.record(&self.actor, action, id.as_str(), counts, now)
            .await?;
        Ok(deleted)
    }
}

impl UseCase for DeleteUser {
    const NAME: &'static str = "delete_user";
    type Output = Deleted;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Deleted, ServiceError> {
        let (id, now) = (&self.user_id, work.context.now());
        let emails = users::delete(work, id)
            .await?
            .ok_or(ServiceError::Refused(Reason::UserNotFound))?;
        // Only members can invite, and losing a membership revokes, so these are all organizations to look at.
        let organization_ids = memberships::delete_of_user(work, id).await?;
        let revoked = revoke_pending(work, &organization_ids, Some(id), now).await?;
        let deleted = Deleted {
            revoked_invitations: revoked.values().sum(),
            memberships: u64::try_from(organization_ids.len()).unwrap_or(u64::MAX),
            emails,
        };
        // One event for each organization of the user, and one with all counts that belongs to no organization.
        let context = work.context;
        let event = |organization_id: &str, deleted: Deleted| AuditEvent {
            subject_user_id: Some(id.as_str().to_owned()),
            counts: deleted.counts(),
            ..context.audit_event(&self.actor, AuditAction::DeleteUser, organization_id, now)
        };
        let mut events = vec![event(NO_ORGANIZATION, deleted)];
        events.extend(organization_ids.iter().map(|organization_id| {
            let revoked = revoked.get(organization_id);
            let deleted = Deleted {
                revoked_invitations: revoked.copied().unwrap_or_default(),
                memberships: 1,
                emails: 0,
            };
            event(organization_id, deleted)
        }));
        audit_events::insert_many(work, &events).await?;
        Ok(deleted)
    }
}

impl UseCase for DeleteMembership {
    const NAME: &'static str = "delete_membership";
    type Output = Deleted;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Deleted, ServiceError> {
        let (id, user_id, now) = (&self.organization_id, &self.user_id, work.context.now());
        if !memberships::delete(work, id, user_id).await? {
            return Err(ServiceError::Refused(Reason::MembershipNotFound));
        }
        let revoked = revoke_pending(work, &[id.as_str().to_owned()], Some(user_id), now).await?;
        let deleted = Deleted {
            revoked_invitations: revoked.values().sum(),
            memberships: 1,
            emails: 0,
        };
        let (context, action) = (work.context, AuditAction::DeleteMembership);
        let event = AuditEvent {
            subject_user_id: Some(user_id.as_str().to_owned()),
            counts: deleted.counts(),
            ..context.audit_event(&self.actor, action, id.as_str(), now)
        };
        audit_events::insert_many(work, &[event]).await?;
        Ok(deleted)
    }
}

impl Deleted {
    fn counts(self) -> AuditCounts {
        AuditCounts {
            deleted: self.memberships,
            revoked: self.revoked_invitations,
            ..AuditCounts::default()
        }
    }
}

/// Revokes the pending invitations of organizations, or those of one inviter. Returns how many, by organization.
async fn revoke_pending(
    connection: &mut Connection<'_>,
    organization_ids: &[String],
    inviter: Option<&UserId>,
    now: OffsetDateTime,
) -> Result<BTreeMap<String, u64>, ServiceError> {
    let inviter = inviter.map(UserId::as_str);
    let targets =
        invitations::pending_of_organizations(connection, organization_ids, inviter).await?;
    let end = EndReason::Revoked { by_user_id: None };
    let ended = invitations::end_many(connection, &targets, end, now).await?;
    let ended: HashSet<Uuid> = ended.into_iter().collect();
    let mut revoked = BTreeMap::new();
    for (id, organization_id) in targets {
        if ended.contains(&id) {
            *revoked.entry(organization_id).or_default() += 1;
        }
    }
    Ok(revoked)
}
