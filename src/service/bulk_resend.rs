//! `BulkResend`: new mails for many invitations, by their ids or by what they have in common, in one transaction.
//!
//! As in `bulk_create`, the number of statements is the same for one invitation and for ten thousand: the database is
//! asked once which they are, once about their addresses, and written to once.

mod step;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::quota::QuotaRequest;
use crate::entropy;
use crate::store::candidates;
use crate::store::idempotency_keys::{self, RequestKey};
use crate::store::invitations::{self, Resending};
use crate::store::listings::ListFilter;
use crate::store::{self, Connection, Constraint, StoreError, audit_events, invitation_row};

use self::step::{Decided, Knowledge, Step};
use super::audit::{count, counts_of};
use super::bulk_create::{ItemResult, shorten};
use super::quota::{Taking, Turn};
use super::snapshot::{self, StoredResults};
use super::{Service, ServiceError};

/// Which invitations to mail again. Not `Debug`: a filter may hold an address.
pub enum Selection {
    /// These; `None` is what was no id at all.
    Ids(Vec<Option<Uuid>>),
    /// Those that a filter finds, newest first.
    Filter {
        /// The filter.
        filter: ListFilter,
        /// The last id of the page before.
        before: Option<Uuid>,
        /// At most so many.
        page_size: usize,
    },
}

impl Selection {
    /// Most invitations it may be of.
    #[must_use]
    pub const fn size_max(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Filter { page_size, .. } => *page_size,
        }
    }
}

/// A request.
pub struct BulkResend {
    /// Who asks; request ids are their caller's.
    pub actor: Actor,
    /// Makes the call safe to repeat.
    pub request_id: Option<Uuid>,
    /// SHA-256 of everything that was asked, without the request id and `validate_only`.
    pub request_hash: [u8; 32],
    /// The organization.
    pub organization_id: OrganizationId,
    /// Which invitations.
    pub selection: Selection,
    /// Whether links that were mailed before stop working.
    pub rotate_token: bool,
    /// When they expire now.
    pub expiry: Expiry,
    /// Whether to answer as the call would, and do nothing.
    pub validate_only: bool,
}

/// The answer.
pub struct ResentPage {
    /// What a filter found, newest first; empty for a list of ids.
    pub found: Vec<Uuid>,
    /// One for each id, in order.
    pub results: Vec<ItemResult>,
    /// Whether the filter finds more.
    pub has_more: bool,
}

/// The answer as it is kept for repetitions.
#[derive(Serialize, Deserialize)]
struct StoredPage {
    found: Vec<Uuid>,
    results: StoredResults,
    has_more: bool,
}

impl Service {
    /// Mails invitations again. See the protocol for what a caller sees.
    pub async fn bulk_resend(&self, request: BulkResend) -> Result<ResentPage, ServiceError> {
        let service = self.clone();
        let request = Arc::new(request);
        let shared = Arc::clone(&request);
        let turn = Turn::default();
        let page = self
            .store
            .with_tx("bulk_resend", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&shared));
                let turn = turn.clone();
                Box::pin(async move { service.bulk_resend_once(connection, &request, &turn).await })
            })
            .await?;
        Ok(page)
    }

    async fn bulk_resend_once(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkResend,
        turn: &Turn,
    ) -> Result<ResentPage, ServiceError> {
        let key = request.key();
        if let Some(key) = &key
            && let Some(response) = self
                .recall(
                    connection,
                    key,
                    &request.request_hash,
                    request.validate_only,
                )
                .await?
        {
            return self.resent_before(connection, request, &response).await;
        }
        let now = self.clock.now();
        let expires_at = request
            .expiry
            .resolve(now)
            .map_err(|reason| ServiceError::invalid(request.expiry.field(), reason))?;
        store::plan_pages(connection).await?;
        self.hold(connection, &request.organization_id, turn, request.most())
            .await?;
        let (asked, has_more) = self.select(connection, request).await?;
        let mut steps = self
            .steps(connection, request, &asked, expires_at, now)
            .await?;
        if turn.is_alone() || request.validate_only {
            self.keep_resend_quotas(connection, &request.organization_id, &mut steps, now)
                .await?;
        }
        let results = self
            .carry_out(connection, request, &steps, expires_at, now)
            .await?;
        if !request.validate_only {
            let event = self.resent(request, &steps, &results, now);
            audit_events::insert_many(connection, &[event]).await?;
        }
        let page = ResentPage {
            found: match request.selection {
                Selection::Ids(_) => Vec::new(),
                Selection::Filter { .. } => asked.into_iter().flatten().collect(),
            },
            results,
            has_more,
        };
        if let Some(key) = key.filter(|_| !request.validate_only) {
            let response = snapshot::encode(&StoredPage {
                found: page.found.clone(),
                results: StoredResults::new(&page.results),
                has_more,
            })?;
            idempotency_keys::set_response(connection, &key, &response).await?;
        }
        if !request.validate_only {
            let taking = taking(&request.organization_id, &steps);
            if self.take(connection, taking, now).await?.is_some() {
                return Err(turn.alone_next());
            }
        }
        Ok(page)
    }

    fn resent(
        &self,
        request: &BulkResend,
        steps: &[Step],
        results: &[ItemResult],
        now: OffsetDateTime,
    ) -> AuditEvent {
        let rotated = steps.iter().filter_map(Step::resending);
        let rotated = rotated.filter(|item| item.nonce.is_some()).count();
        let organization_id = request.organization_id.as_str();
        AuditEvent {
            request_id: request.request_id,
            counts: AuditCounts {
                rotated: count(rotated),
                ..counts_of(results)
            },
            ..self.event(
                &request.actor,
                AuditAction::BulkResend,
                organization_id,
                now,
            )
        }
    }

    /// Fails the invitations that quotas have no room for; the first that fit are left.
    async fn keep_resend_quotas(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        steps: &mut [Step],
        now: OffsetDateTime,
    ) -> Result<(), ServiceError> {
        let addresses = steps
            .iter()
            .filter_map(|step| step.ask()?.address)
            .collect();
        let mut left = self
            .allowance(connection, organization_id, addresses, now)
            .await?;
        for step in steps {
            if let Some(Err(quota)) = step.ask().map(|ask| left.take(&ask)) {
                *step = Step::exceeds(self.quotas.exceeded(quota, now));
            }
        }
        Ok(())
    }

    /// The answer of an earlier call.
    async fn resent_before(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkResend,
        response: &[u8],
    ) -> Result<ResentPage, ServiceError> {
        let stored: StoredPage = snapshot::decode(response)?;
        let mut results = stored
            .results
            .restore(connection, &request.organization_id, self.clock.now())
            .await?;
        shorten(&mut results);
        Ok(ResentPage {
            found: stored.found,
            results,
            has_more: stored.has_more,
        })
    }

    /// The ids of a request in the order of its results, and whether there are more.
    async fn select(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkResend,
    ) -> Result<(Vec<Option<Uuid>>, bool), ServiceError> {
        let (filter, before, page_size) = match &request.selection {
            Selection::Ids(ids) => return Ok((ids.clone(), false)),
            Selection::Filter {
                filter,
                before,
                page_size,
            } => (filter, *before, *page_size),
        };
        // One more than asked for tells whether there are more.
        let limit = i64::try_from(page_size + 1).unwrap_or(i64::MAX);
        let organization_id = &request.organization_id;
        let mut ids = self
            .list_ids(connection, organization_id, filter, before, limit)
            .await?;
        let has_more = ids.len() > page_size;
        ids.truncate(page_size);
        Ok((ids.into_iter().map(Some).collect(), has_more))
    }

    /// Locks the invitations and decides about each. Asks once about all of them, once about all addresses and once about
    /// all that are suppressed.
    async fn steps(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkResend,
        asked: &[Option<Uuid>],
        expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<Step>, ServiceError> {
        let organization_id = &request.organization_id;
        let ids: Vec<Uuid> = asked.iter().copied().flatten().collect();
        let candidates = candidates::lock_many(connection, organization_id, &ids).await?;
        let emails: Vec<&str> = candidates
            .iter()
            .map(|candidate| candidate.email_normalized.as_str())
            .collect();
        let pending = invitations::pending_for(connection, organization_id, &emails).await?;
        let knowledge = Knowledge {
            suppressed: self
                .suppressed(connection, organization_id, &emails)
                .await?,
            mailed: self.mailed(connection, organization_id, &ids, now).await?,
            candidates: candidates
                .into_iter()
                .map(|candidate| (candidate.id, candidate))
                .collect(),
            pending,
        };
        let mut decided = Decided::default();
        asked
            .iter()
            .enumerate()
            .map(|(index, id)| {
                let step = match decided.decide(index, *id, &knowledge, now)? {
                    Ok((candidate, is_expired)) => {
                        match self.resend_obstacle(&knowledge.mailed, candidate.id, now) {
                            Some(exceeded) => Step::exceeds(exceeded),
                            None => Step::Resend {
                                resending: Resending {
                                    id: candidate.id,
                                    expires_at,
                                    nonce: (request.rotate_token || is_expired)
                                        .then(entropy::random_bytes),
                                    send_seq: None,
                                },
                                address: self.hasher.hash(&candidate.email_normalized),
                                is_expired,
                            },
                        }
                    }
                    Err((reason, first_index)) => Step::Fail {
                        reason,
                        first_index,
                        exceeded: None,
                    },
                };
                Ok(step)
            })
            .collect()
    }

    /// Mails again what is to be, in one statement, and answers; a dry run only answers.
    async fn carry_out(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkResend,
        steps: &[Step],
        expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let organization_id = &request.organization_id;
        let items: Vec<Resending> = steps.iter().filter_map(Step::resending).collect();
        if !request.validate_only && !items.is_empty() {
            let key_id = self.keyring.active();
            let resent = invitations::resend_many(connection, organization_id, &items, key_id, now)
                .await
                .map_err(|error| match error {
                    // Another call invited one of the addresses since we looked; the next look sees it.
                    StoreError::Conflict(Constraint::InvitationsPending, _) => ServiceError::Raced,
                    other => other.into(),
                })?;
            if resent.len() != items.len() {
                return Err(ServiceError::Raced);
            }
        }
        let ids: Vec<Uuid> = items.iter().map(|item| item.id).collect();
        let found =
            invitation_row::get_many(connection, organization_id.as_str(), &ids, now).await?;
        let mut found: HashMap<Uuid, Invitation> = found
            .into_iter()
            .map(|invitation| (invitation.id, invitation))
            .collect();
        let mut results = steps
            .iter()
            .map(|step| step.result(&mut found))
            .collect::<Result<Vec<_>, _>>()?;
        if request.validate_only {
            for invitation in results.iter_mut().filter_map(|it| it.invitation.as_mut()) {
                invitation.resend(expires_at, now);
            }
        }
        shorten(&mut results);
        Ok(results)
    }
}

impl BulkResend {
    fn key(&self) -> Option<RequestKey> {
        self.request_id.map(|request_id| RequestKey {
            organization_id: self.organization_id.as_str().to_owned(),
            caller: self.actor.caller.clone(),
            method: "BulkResend",
            request_id,
        })
    }

    /// Most invitations it can take; what a filter finds is not known before.
    fn most(&self) -> usize {
        match &self.selection {
            Selection::Ids(ids) if !self.validate_only => ids.len(),
            _ => 0,
        }
    }
}

/// What the steps take of quotas, all of them carried out.
fn taking<'a>(organization_id: &'a OrganizationId, steps: &[Step]) -> Taking<'a> {
    let asks: Vec<QuotaRequest> = steps.iter().filter_map(Step::ask).collect();
    Taking {
        organization_id,
        recipients: asks.len(),
        new_pending: asks.iter().filter(|ask| ask.is_new_pending).count(),
        addresses: asks.iter().filter_map(|ask| ask.address).collect(),
    }
}
