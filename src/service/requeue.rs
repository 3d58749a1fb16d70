//! Requeue: a second chance for mails that were given up, once what kept them from their people is mended.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::reason::Reason;
use crate::store::candidates::{self, Candidate};
use crate::store::{self, Connection, audit_events, dead_letters, organizations};

use super::audit::count;
use super::{Service, ServiceError};

/// Which mails to queue again, by their invitations.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Those of these invitations; `None` is what was no id at all.
    Ids(Vec<Option<Uuid>>),
    /// All that can be.
    AllDead,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Requeue {
    /// Who asks.
    pub actor: Actor,
    /// The organization.
    pub organization_id: OrganizationId,
    /// Which mails.
    pub selection: Selection,
}

/// Why a mail stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRequeued {
    /// The reason.
    pub reason: Reason,
    /// For a duplicate, the place of the first one.
    pub first_index: Option<usize>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequeuedPage {
    /// The invitations, where none were named; empty otherwise.
    pub found: Vec<Uuid>,
    /// One for each id, in order.
    pub results: Vec<Result<(), NotRequeued>>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Service {
    /// Queues mails again that were given up. See the protocol for what a caller sees.
    pub async fn requeue(&self, request: Requeue) -> Result<RequeuedPage, ServiceError> {
        let service = self.clone();
        let request = Arc::new(request);
        let page = self
            .store
            .with_tx("requeue", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move { service.requeue_once(connection, &request).await })
            })
            .await?;
        Ok(page)
    }

    async fn requeue_once(
        &self,
        connection: &mut Connection<'_>,
        request: &Requeue,
    ) -> Result<RequeuedPage, ServiceError> {
        let now = self.clock.now();
        let organization_id = &request.organization_id;
        store::plan_afresh(connection).await?;
        organizations::hold(connection, organization_id)
            .await?
            .filter(|stored| !stored.is_deleted)
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        let (found, has_more) = match request.selection {
            Selection::Ids(_) => (Vec::new(), false),
            Selection::AllDead => find(connection, organization_id, now).await?,
        };
        let asked = match &request.selection {
            Selection::Ids(ids) => ids.clone(),
            Selection::AllDead => found.iter().copied().map(Some).collect(),
        };
        let ids: Vec<Uuid> = asked.iter().copied().flatten().collect();
        // What is asked for may end at any moment; once it is locked it stays as it is.
        let candidates: HashMap<Uuid, Candidate> =
            candidates::lock_many(connection, organization_id, &ids)
                .await?
                .into_iter()
                .map(|candidate| (candidate.id, candidate))
                .collect();
        let mut waiting = Vec::new();
        for candidate in candidates.values() {
            if candidate.state(now)?.refusal().is_none() {
                waiting.push(candidate.id);
            }
        }
        let requeued =
            dead_letters::requeue_many(connection, organization_id, &waiting, now).await?;
        let requeued: HashSet<Uuid> = requeued.into_iter().collect();
        let event = AuditEvent {
            counts: AuditCounts {
                requeued: count(requeued.len()),
                failed: count(asked.len() - requeued.len()),
                ..AuditCounts::default()
            },
            ..self.event(
                &request.actor,
                AuditAction::Requeue,
                organization_id.as_str(),
                now,
            )
        };
        audit_events::insert_many(connection, &[event]).await?;
        Ok(RequeuedPage {
            results: results(&asked, &candidates, &requeued, now)?,
            found,
            has_more,
        })
    }
}

/// The invitations whose mail can be queued again, and whether there are more than one call takes.
async fn find(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<(Vec<Uuid>, bool), ServiceError> {
    let limit = i64::try_from(ITEMS_MAX + 1).unwrap_or(i64::MAX);
    let mut found = dead_letters::find(connection, organization_id, limit, now).await?;
    let has_more = found.len() > ITEMS_MAX;
    found.truncate(ITEMS_MAX);
    Ok((found, has_more))
}

fn results(
    asked: &[Option<Uuid>],
    candidates: &HashMap<Uuid, Candidate>,
    requeued: &HashSet<Uuid>,
    now: OffsetDateTime,
) -> Result<Vec<Result<(), NotRequeued>>, ServiceError> {
    let mut first_of = HashMap::with_capacity(asked.len());
    let mut results = Vec::with_capacity(asked.len());
    for (index, id) in asked.iter().enumerate() {
        let first = id.map_or(index, |id| *first_of.entry(id).or_insert(index));
        let first_index = (first != index).then_some(first);
        let reason = match id {
            None => Some(Reason::FieldInvalid),
            Some(_) if first_index.is_some() => Some(Reason::DuplicateInRequest),
            Some(id) if requeued.contains(id) => None,
            Some(id) => Some(match candidates.get(id) {
                None => Reason::InvitationNotFound,
                Some(candidate) => candidate
                    .state(now)?
                    .refusal()
                    .unwrap_or(Reason::MailNotFailed),
            }),
        };
        results.push(reason.map_or(Ok(()), |reason| {
            Err(NotRequeued {
                reason,
                first_index,
            })
        }));
    }
    Ok(results)
}
