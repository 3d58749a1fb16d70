//! `BulkRevoke`: the organization takes many invitations back, by their ids or by what they have in common, in one
//! transaction and as many statements as for one.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::StateName;
use crate::domain::reason::Reason;
use crate::store::candidates::{self, Candidate};
use crate::store::invitations::{self, End, Target};
use crate::store::listings::ListFilter;
use crate::store::{self, Connection, audit_events, organizations};

use super::audit::count;
use super::{Service, ServiceError};

/// Which invitations to take back. Not `Debug`: a filter may hold an address.
pub enum RevokeSelection {
    /// These; `None` is what was no id at all.
    Ids(Vec<Option<Uuid>>),
    /// Those that a filter finds, newest first.
    Filter {
        /// The filter.
        filter: ListFilter,
        /// At most so many.
        page_size: usize,
    },
}

/// A request.
pub struct BulkRevoke {
    /// Who asks.
    pub actor: Actor,
    /// The organization.
    pub organization_id: OrganizationId,
    /// Which invitations.
    pub selection: RevokeSelection,
    /// Who takes them back.
    pub by_user_id: Option<UserId>,
    /// Whether to answer as the call would, and do nothing.
    pub validate_only: bool,
}

/// What became of one invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// It was pending and is revoked.
    Revoked,
    /// It had ended before.
    Unchanged,
    /// Nothing was done for it.
    Failed {
        /// Why.
        reason: Reason,
        /// For a duplicate, the place of the first one.
        first_index: Option<usize>,
    },
}

/// The answer.
pub struct RevokedPage {
    /// What a filter found, newest first; empty for a list of ids.
    pub found: Vec<Uuid>,
    /// One for each id, in order.
    pub outcomes: Vec<RevokeOutcome>,
    /// Whether the filter finds more.
    pub has_more: bool,
}

impl Service {
    /// Takes invitations back. See the protocol for what a caller sees.
    pub async fn bulk_revoke(&self, request: BulkRevoke) -> Result<RevokedPage, ServiceError> {
        let service = self.clone();
        let request = Arc::new(request);
        self.store
            .with_tx("bulk_revoke", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move { service.bulk_revoke_once(connection, &request).await })
            })
            .await
    }

    async fn bulk_revoke_once(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkRevoke,
    ) -> Result<RevokedPage, ServiceError> {
        let now = self.clock.now();
        let organization_id = &request.organization_id;
        store::plan_pages(connection).await?;
        organizations::hold(connection, organization_id)
            .await?
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        let (asked, has_more) = self.select_to_revoke(connection, request).await?;
        let ids: Vec<Uuid> = asked.iter().copied().flatten().collect();
        let candidates = candidates::lock_many(connection, organization_id, &ids).await?;
        let candidates: HashMap<Uuid, Candidate> = candidates
            .into_iter()
            .map(|candidate| (candidate.id, candidate))
            .collect();
        let outcomes = decide_all(&asked, &candidates, now)?;
        let targets: Vec<Target> = asked
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == RevokeOutcome::Revoked)
            .filter_map(|(id, _)| Some(((*id)?, organization_id.as_str().to_owned())))
            .collect();
        if !request.validate_only {
            let end = End::Revoked {
                by_user_id: request.by_user_id.as_ref().map(UserId::as_str),
            };
            let ended = invitations::end_many(connection, &targets, end, now).await?;
            if ended.len() != targets.len() {
                return Err(ServiceError::Raced);
            }
            let event = self.revoked(request, &outcomes, now);
            audit_events::insert_many(connection, &[event]).await?;
        }
        Ok(RevokedPage {
            found: match request.selection {
                RevokeSelection::Ids(_) => Vec::new(),
                RevokeSelection::Filter { .. } => ids,
            },
            outcomes,
            has_more,
        })
    }

    /// The ids of a request in the order of its results, and whether there are more.
    async fn select_to_revoke(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkRevoke,
    ) -> Result<(Vec<Option<Uuid>>, bool), ServiceError> {
        let (filter, page_size) = match &request.selection {
            RevokeSelection::Ids(ids) => return Ok((ids.clone(), false)),
            RevokeSelection::Filter { filter, page_size } => (filter, *page_size),
        };
        // One more than asked for tells whether there are more.
        let limit = i64::try_from(page_size + 1).unwrap_or(i64::MAX);
        let mut ids = self
            .list_ids(connection, &request.organization_id, filter, None, limit)
            .await?;
        let has_more = ids.len() > page_size;
        ids.truncate(page_size);
        Ok((ids.into_iter().map(Some).collect(), has_more))
    }

    /// What the audit log is told.
    fn revoked(
        &self,
        request: &BulkRevoke,
        outcomes: &[RevokeOutcome],
        now: OffsetDateTime,
    ) -> AuditEvent {
        let of = |wanted: RevokeOutcome| outcomes.iter().filter(|it| **it == wanted).count();
        let (revoked, unchanged) = (of(RevokeOutcome::Revoked), of(RevokeOutcome::Unchanged));
        let organization_id = request.organization_id.as_str();
        let event = self.event(
            &request.actor,
            AuditAction::BulkRevoke,
            organization_id,
            now,
        );
        let named = || {
            request
                .by_user_id
                .as_ref()
                .map(|user| user.as_str().to_owned())
        };
        AuditEvent {
            counts: AuditCounts {
                revoked: count(revoked),
                unchanged: count(unchanged),
                failed: count(outcomes.len() - revoked - unchanged),
                ..AuditCounts::default()
            },
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(named),
            ..event
        }
    }
}

fn decide_all(
    asked: &[Option<Uuid>],
    candidates: &HashMap<Uuid, Candidate>,
    now: OffsetDateTime,
) -> Result<Vec<RevokeOutcome>, ServiceError> {
    let mut first_of = HashMap::with_capacity(asked.len());
    asked
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let fail = |reason, first_index| RevokeOutcome::Failed {
                reason,
                first_index,
            };
            let Some(id) = id else {
                return Ok(fail(Reason::FieldInvalid, None));
            };
            let first = *first_of.entry(*id).or_insert(index);
            if first != index {
                return Ok(fail(Reason::DuplicateInRequest, Some(first)));
            }
            let Some(candidate) = candidates.get(id) else {
                return Ok(fail(Reason::InvitationNotFound, None));
            };
            Ok(match candidate.state(now)? {
                StateName::Pending => RevokeOutcome::Revoked,
                StateName::Accepted => fail(Reason::AlreadyAccepted, None),
                StateName::Declined | StateName::Revoked | StateName::Expired => {
                    RevokeOutcome::Unchanged
                }
            })
        })
        .collect()
}
