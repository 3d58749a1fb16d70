//! Deleting organizations, users and memberships, with the pending invitations that they leave behind.

use std::collections::{BTreeMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, NO_ORGANIZATION};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, EndReason, InvitationKey};
use crate::store::memberships::MemberKey;
use crate::store::{Connection, audit_events, memberships, organizations, planner, users};

use super::{Context, ServiceError, UnitOfWork, UseCase};

/// Deletes an organization, its memberships and its pending invitations.
pub struct DeleteOrganization {
    pub organization_id: OrganizationId,
    pub options: DeleteOptions,
    pub actor: Actor,
}

/// Deletes a user with name, addresses and memberships, and revokes the pending invitations that the user made. Invitations
/// to the addresses of the user stay.
pub struct DeleteUser {
    pub user_id: UserId,
    pub options: DeleteOptions,
    pub actor: Actor,
}

/// Deletes a membership, and revokes the pending invitations that the user made in the organization.
pub struct DeleteMembership {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub options: DeleteOptions,
    pub actor: Actor,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct DeleteOptions {
    /// Whether it is no failure if what is to be deleted does not exist.
    pub allow_missing: bool,
    pub validate_only: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    pub revoked_invitations: u64,
    pub memberships: u64,
    pub emails: u64,
}

/// The members that a deletion removed, and the pending invitations that were revoked with them.
#[derive(Debug, Default)]
pub(super) struct RemovedMembers {
    /// In order.
    pub(super) keys: Vec<MemberKey>,
    /// The number of invitations, by organization.
    revoked: BTreeMap<String, u64>,
}

/// The users that a deletion removed.
#[derive(Debug)]
pub(super) struct RemovedUsers {
    pub(super) ids: Vec<String>,
    emails: u64,
    members: RemovedMembers,
}

impl UseCase for DeleteOrganization {
    const NAME: &'static str = "delete_organization";
    type Output = Deleted;

    fn is_dry_run(&self) -> bool {
        self.options.validate_only
    }

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Deleted, ServiceError> {
        let (id, now) = (&self.organization_id, work.context.now());
        if !organizations::mark_deleted(work, id, now).await? {
            return self.options.missing(Reason::OrganizationNotFound);
        }
        let pending = invitations::pending_of_organization(work, id).await?;
        let revoked = revoke(work, pending, now).await?;
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

    fn is_dry_run(&self) -> bool {
        self.options.validate_only
    }

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Deleted, ServiceError> {
        let now = work.context.now();
        let removed = RemovedUsers::delete(work, &[self.user_id.as_str()], now).await?;
        if removed.ids.is_empty() {
            return self.options.missing(Reason::UserNotFound);
        }
        removed.record(work, &self.actor, 0, now).await?;
        Ok(removed.deleted())
    }
}

impl UseCase for DeleteMembership {
    const NAME: &'static str = "delete_membership";
    type Output = Deleted;

    fn is_dry_run(&self) -> bool {
        self.options.validate_only
    }

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Deleted, ServiceError> {
        let now = work.context.now();
        let (id, user_id) = (self.organization_id.as_str(), self.user_id.as_str());
        let keys = [(id.to_owned(), user_id.to_owned())];
        let removed = RemovedMembers::delete(work, &keys, now).await?;
        if removed.keys.is_empty() {
            return self.options.missing(Reason::MembershipNotFound);
        }
        removed.record(work, &self.actor, 0, now).await?;
        Ok(removed.deleted())
    }
}

impl DeleteOptions {
    fn missing(self, reason: Reason) -> Result<Deleted, ServiceError> {
        if self.allow_missing {
            Ok(Deleted::default())
        } else {
            Err(ServiceError::Refused(reason))
        }
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

impl RemovedUsers {
    /// Deletes those of the users that exist. Only members can invite, and losing a membership revokes, so the memberships
    /// lead to all invitations of the users.
    pub(super) async fn delete(
        connection: &mut Connection<'_>,
        user_ids: &[&str],
        now: OffsetDateTime,
    ) -> Result<Self, ServiceError> {
        planner::force_custom_plans(connection).await?;
        let users = users::delete_many(connection, user_ids).await?;
        let keys = memberships::delete_of_users(connection, &users.ids).await?;
        Ok(Self {
            ids: users.ids,
            emails: users.emails.unsigned_abs(),
            members: RemovedMembers::revoke(connection, keys, now).await?,
        })
    }

    pub(super) fn deleted(&self) -> Deleted {
        Deleted {
            emails: self.emails,
            ..self.members.deleted()
        }
    }

    /// Writes an event for each organization, and one of no organization with all counts. `failed` items were refused.
    pub(super) async fn record(
        &self,
        work: &mut UnitOfWork<'_>,
        actor: &Actor,
        failed: u64,
        now: OffsetDateTime,
    ) -> Result<(), ServiceError> {
        if self.ids.is_empty() && failed == 0 {
            return Ok(());
        }
        let (context, action) = (work.context, AuditAction::DeleteUser);
        let total = AuditEvent {
            subject_user_id: only(&self.ids),
            counts: AuditCounts {
                failed,
                ..self.deleted().counts()
            },
            ..context.audit_event(actor, action, NO_ORGANIZATION, now)
        };
        let mut events = vec![total];
        events.extend(self.members.events(context, actor, action, now));
        Ok(audit_events::insert_many(work, &events).await?)
    }
}

impl RemovedMembers {
    /// Deletes those of the memberships that exist.
    pub(super) async fn delete(
        connection: &mut Connection<'_>,
        keys: &[MemberKey],
        now: OffsetDateTime,
    ) -> Result<Self, ServiceError> {
        planner::force_custom_plans(connection).await?;
        let keys = memberships::delete_many(connection, keys).await?;
        Self::revoke(connection, keys, now).await
    }

    /// Revokes the pending invitations of members who were removed.
    async fn revoke(
        connection: &mut Connection<'_>,
        keys: Vec<MemberKey>,
        now: OffsetDateTime,
    ) -> Result<Self, ServiceError> {
        let pending = invitations::pending_of_inviters(connection, &keys).await?;
        let revoked = revoke(connection, pending, now).await?;
        Ok(Self { keys, revoked })
    }

    pub(super) fn deleted(&self) -> Deleted {
        Deleted {
            revoked_invitations: self.revoked.values().sum(),
            memberships: u64::try_from(self.keys.len()).unwrap_or(u64::MAX),
            emails: 0,
        }
    }

    /// Writes an event for each organization, and one of no organization if `failed` items were refused.
    pub(super) async fn record(
        &self,
        work: &mut UnitOfWork<'_>,
        actor: &Actor,
        failed: u64,
        now: OffsetDateTime,
    ) -> Result<(), ServiceError> {
        let (context, action) = (work.context, AuditAction::DeleteMembership);
        let mut events = self.events(context, actor, action, now);
        if failed > 0 {
            let event = context.audit_event(actor, action, NO_ORGANIZATION, now);
            let counts = AuditCounts {
                failed,
                ..AuditCounts::default()
            };
            events.push(AuditEvent { counts, ..event });
        }
        if events.is_empty() {
            return Ok(());
        }
        Ok(audit_events::insert_many(work, &events).await?)
    }

    /// One event for each organization. It names a user if only one was removed from the organization.
    fn events(
        &self,
        context: &Context,
        actor: &Actor,
        action: AuditAction,
        now: OffsetDateTime,
    ) -> Vec<AuditEvent> {
        let of_organization = |keys: &[MemberKey]| {
            let organization_id = keys[0].0.as_str();
            let deleted = Deleted {
                revoked_invitations: self.revoked.get(organization_id).copied().unwrap_or(0),
                memberships: u64::try_from(keys.len()).unwrap_or(u64::MAX),
                emails: 0,
            };
            AuditEvent {
                subject_user_id: only(keys).map(|(_, user_id)| user_id),
                counts: deleted.counts(),
                ..context.audit_event(actor, action, organization_id, now)
            }
        };
        let organizations = self.keys.chunk_by(|(a, _), (b, _)| a == b);
        organizations.map(of_organization).collect()
    }
}

/// The element of a list that has only one.
fn only<T: Clone>(list: &[T]) -> Option<T> {
    match list {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// Revokes pending invitations. Returns how many, by organization.
async fn revoke(
    connection: &mut Connection<'_>,
    targets: Vec<InvitationKey>,
    now: OffsetDateTime,
) -> Result<BTreeMap<String, u64>, ServiceError> {
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
