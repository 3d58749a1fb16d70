//! The suppression list: putting addresses on it, taking them off, and asking who is on it.
//!
//! The list knows tags and no addresses, so whoever asks it names the address.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::address_tag::AddressTag;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::domain::suppression::{Suppression, SuppressionReason};
use crate::store::suppressions::{self, SuppressionFilter, SuppressionKey, SuppressionRow};
use crate::store::{self, Connection, audit_events, organizations};

use super::audit::count;
use super::{Service, ServiceError};

/// Addresses as they came: each an address, or the rule it breaks.
pub type Addresses = Vec<Result<EmailAddress, Reason>>;

/// Addresses to put on the list.
pub struct AddSuppressions {
    /// Who asks.
    pub actor: Actor,
    /// The organization whose invitations they get no more; `None` for those of all.
    pub organization_id: Option<OrganizationId>,
    /// The addresses.
    pub emails: Addresses,
    /// When that ends; `None` for when it is lifted.
    pub expires_at: Option<OffsetDateTime>,
}

/// Addresses to take off the list.
pub struct LiftSuppressions {
    /// Who asks.
    pub actor: Actor,
    /// The organization; `None` for the list of all, which leaves those of single ones as they are.
    pub organization_id: Option<OrganizationId>,
    /// The addresses.
    pub emails: Addresses,
}

/// A page of the list.
pub struct ListSuppressions {
    /// The organization; `None` for every entry there is.
    pub organization_id: Option<OrganizationId>,
    /// Only those of this address.
    pub email: Option<EmailAddress>,
    /// Only those for this reason.
    pub reason: Option<SuppressionReason>,
    /// The last entry of the page before.
    pub after: Option<SuppressionKey>,
    /// At most so many.
    pub page_size: usize,
}

/// What became of an address that was put on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddOutcome {
    /// It was not on it and is now.
    Added,
    /// It was on it and is as asked now.
    Updated,
    /// A stronger suppression was there and stays.
    Kept,
}

/// What became of an address that was taken off the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiftOutcome {
    /// It was on it.
    Lifted,
    /// It was not.
    NotSuppressed,
}

/// An item that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAddress {
    /// Why.
    pub violation: Violation,
    /// For a duplicate, the place of the first one.
    pub first_index: Option<usize>,
}

/// One for each address, in the order of the request.
pub type ItemOutcomes<T> = Vec<Result<T, RefusedAddress>>;

/// An address by its normal form, where it is one and stands there for the first time.
type Checked = Result<String, RefusedAddress>;

impl Service {
    /// Puts addresses on the list by hand.
    pub async fn add_suppressions(
        &self,
        request: AddSuppressions,
    ) -> Result<ItemOutcomes<AddOutcome>, ServiceError> {
        let now = self.clock.now();
        if request
            .expires_at
            .is_some_and(|expires_at| expires_at <= now)
        {
            return Err(ServiceError::invalid("expire_time", Reason::FieldInvalid));
        }
        let service = self.clone();
        let checked = Arc::new(distinct(request.emails));
        let (organization_id, expires_at) = (request.organization_id, request.expires_at);
        let actor = request.actor;
        self.store
            .with_tx("add_suppressions", move |connection| {
                let (service, checked, organization_id, actor) = (
                    service.clone(),
                    Arc::clone(&checked),
                    organization_id.clone(),
                    actor.clone(),
                );
                Box::pin(async move {
                    let organization_id = existing(connection, organization_id.as_ref()).await?;
                    let row = |email: &String| SuppressionRow {
                        organization_id: organization_id.clone(),
                        tag: service.tagger.tag_of_normalized(email),
                        reason: SuppressionReason::Manual,
                        expires_at,
                    };
                    let rows: Vec<SuppressionRow> = checked.iter().flatten().map(row).collect();
                    let written = suppressions::upsert_many(connection, &rows, now).await?;
                    let written: HashMap<_, _> = written
                        .into_iter()
                        .map(|written| (written.tag, written.was_suppressed))
                        .collect();
                    let mut rows = rows.into_iter();
                    let outcomes = each(&checked, |_| {
                        match rows.next().and_then(|row| written.get(&row.tag.bytes)) {
                            Some(false) => AddOutcome::Added,
                            Some(true) => AddOutcome::Updated,
                            None => AddOutcome::Kept,
                        }
                    });
                    let event = AuditEvent {
                        counts: added_counts(&outcomes),
                        ..service.event(&actor, AuditAction::AddSuppressions, &organization_id, now)
                    };
                    audit_events::insert_many(connection, &[event]).await?;
                    Ok(outcomes)
                })
            })
            .await
    }

    /// Takes addresses off the list, whatever they were put on it for.
    pub async fn lift_suppressions(
        &self,
        request: LiftSuppressions,
    ) -> Result<ItemOutcomes<LiftOutcome>, ServiceError> {
        let service = self.clone();
        let checked = Arc::new(distinct(request.emails));
        let (organization_id, actor) = (request.organization_id, request.actor);
        self.store
            .with_tx("lift_suppressions", move |connection| {
                let (service, checked, organization_id, actor) = (
                    service.clone(),
                    Arc::clone(&checked),
                    organization_id.clone(),
                    actor.clone(),
                );
                Box::pin(async move {
                    let now = service.clock.now();
                    store::plan_afresh(connection).await?;
                    let organization_id = existing(connection, organization_id.as_ref()).await?;
                    let tags: Vec<_> = checked
                        .iter()
                        .flatten()
                        .flat_map(|email| service.tagger.tags_of_normalized(email))
                        .collect();
                    let lifted =
                        suppressions::delete_many(connection, &organization_id, &tags, now).await?;
                    let lifted: HashSet<_> = lifted.into_iter().collect();
                    let outcomes = each(&checked, |email| {
                        let mut tags = service.tagger.tags_of_normalized(email);
                        if tags.any(|tag| lifted.contains(&tag.bytes)) {
                            LiftOutcome::Lifted
                        } else {
                            LiftOutcome::NotSuppressed
                        }
                    });
                    let event = AuditEvent {
                        counts: lifted_counts(&outcomes),
                        ..service.event(
                            &actor,
                            AuditAction::LiftSuppressions,
                            &organization_id,
                            now,
                        )
                    };
                    audit_events::insert_many(connection, &[event]).await?;
                    Ok(outcomes)
                })
            })
            .await
    }

    /// Returns a page of the list, and whether there is another one.
    pub async fn list_suppressions(
        &self,
        request: ListSuppressions,
    ) -> Result<(Vec<Suppression>, bool), ServiceError> {
        let service = self.clone();
        let request = Arc::new(request);
        self.store
            .with_tx("list_suppressions", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move {
                    // One plan for every combination of filters would read the whole list for each page.
                    store::plan_afresh(connection).await?;
                    existing(connection, request.organization_id.as_ref()).await?;
                    let id = request.organization_id.as_ref();
                    let filter = SuppressionFilter {
                        organization_id: id.map(|id| id.as_str().to_owned()),
                        tags: request
                            .email
                            .as_ref()
                            .map(|email| service.tagger.tags(email).collect()),
                        reason: request.reason,
                    };
                    // One more than asked for tells whether there is another page.
                    let limit = i64::try_from(request.page_size + 1).unwrap_or(i64::MAX);
                    let mut page = suppressions::list(
                        connection,
                        &filter,
                        request.after.as_ref(),
                        limit,
                        service.clock.now(),
                    )
                    .await?;
                    let has_more = page.len() > request.page_size;
                    page.truncate(request.page_size);
                    Ok((page, has_more))
                })
            })
            .await
    }

    /// Those of the addresses that are suppressed for an organization, with the strongest reason for each, in one
    /// statement.
    pub(super) async fn suppressed(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        emails_normalized: &[&str],
    ) -> Result<HashMap<String, SuppressionReason>, ServiceError> {
        let tagged = self.tagged(emails_normalized);
        self.suppressed_among(connection, organization_id, &tagged)
            .await
    }

    /// Addresses with each of the tags that they may be suppressed under.
    pub(super) fn tagged<'a>(&self, emails_normalized: &[&'a str]) -> Vec<(AddressTag, &'a str)> {
        let with_tags = |email: &&'a str| {
            let email = *email;
            let tags = self.tagger.tags_of_normalized(email);
            tags.map(move |tag| (tag, email)).collect::<Vec<_>>()
        };
        emails_normalized.iter().flat_map(with_tags).collect()
    }

    /// [`Self::suppressed`], of addresses whose tags are known.
    pub(super) async fn suppressed_among(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        tagged: &[(AddressTag, &str)],
    ) -> Result<HashMap<String, SuppressionReason>, ServiceError> {
        let tags: Vec<&[u8]> = tagged.iter().map(|(tag, _)| tag.bytes.as_slice()).collect();
        let now = self.clock.now();
        let found = suppressions::reasons(connection, organization_id, &tags, now).await?;
        let mut strongest = HashMap::with_capacity(found.len());
        if found.is_empty() {
            return Ok(strongest);
        }
        let email_of: HashMap<_, _> = tagged
            .iter()
            .map(|(tag, email)| (tag.bytes, *email))
            .collect();
        for (tag, reason) in found {
            if let Some(email) = email_of.get(&tag) {
                let known = strongest.entry((*email).to_owned()).or_insert(reason);
                *known = reason.max(*known);
            }
        }
        Ok(strongest)
    }
}

/// The organization as the list spells it: empty for all of them.
///
/// # Errors
///
/// `ORGANIZATION_NOT_FOUND` for one that is not known, or was deleted.
async fn existing(
    connection: &mut Connection<'_>,
    organization_id: Option<&OrganizationId>,
) -> Result<String, ServiceError> {
    let Some(id) = organization_id else {
        return Ok(String::new());
    };
    organizations::get(connection, id)
        .await?
        .filter(|stored| !stored.is_deleted)
        .map(|stored| stored.organization.id.as_str().to_owned())
        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))
}

/// Refuses what is no address, and all but the first of several that are one.
fn distinct(emails: Addresses) -> Vec<Checked> {
    let mut first_of: HashMap<String, usize> = HashMap::with_capacity(emails.len());
    let refused = |reason, first_index| RefusedAddress {
        violation: Violation::new("email", reason),
        first_index,
    };
    emails
        .into_iter()
        .enumerate()
        .map(|(index, email)| {
            let email = email.map_err(|reason| refused(reason, None))?;
            let email = email.normalized().to_owned();
            if let Some(first) = first_of.get(&email) {
                return Err(refused(Reason::DuplicateInRequest, Some(*first)));
            }
            first_of.insert(email.clone(), index);
            Ok(email)
        })
        .collect()
}

/// The outcome of each address that was not refused.
fn each<T>(checked: &[Checked], mut outcome: impl FnMut(&str) -> T) -> ItemOutcomes<T> {
    checked
        .iter()
        .map(|email| {
            email
                .as_ref()
                .map(|email| outcome(email))
                .map_err(Clone::clone)
        })
        .collect()
}

fn added_counts(outcomes: &ItemOutcomes<AddOutcome>) -> AuditCounts {
    AuditCounts {
        created: count_of(outcomes, &Ok(AddOutcome::Added)),
        updated: count_of(outcomes, &Ok(AddOutcome::Updated)),
        unchanged: count_of(outcomes, &Ok(AddOutcome::Kept)),
        failed: count_of(outcomes, &Err(())),
        ..AuditCounts::default()
    }
}

fn lifted_counts(outcomes: &ItemOutcomes<LiftOutcome>) -> AuditCounts {
    AuditCounts {
        deleted: count_of(outcomes, &Ok(LiftOutcome::Lifted)),
        unchanged: count_of(outcomes, &Ok(LiftOutcome::NotSuppressed)),
        failed: count_of(outcomes, &Err(())),
        ..AuditCounts::default()
    }
}

fn count_of<T: PartialEq + Copy>(outcomes: &ItemOutcomes<T>, wanted: &Result<T, ()>) -> u64 {
    let same =
        |outcome: &&Result<T, RefusedAddress>| outcome.as_ref().copied().map_err(drop) == *wanted;
    count(outcomes.iter().filter(same).count())
}
