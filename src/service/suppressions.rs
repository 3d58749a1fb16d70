//! `SuppressionService`: adding addresses to the suppression list, lifting and listing entries.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::domain::suppression::{
    EVERY_ORGANIZATION, Suppression, SuppressionKey, SuppressionReason,
};
use crate::store::planner;
use crate::store::suppressions::{self, SuppressionFilter, SuppressionRow};

use super::{ResultPage, ServiceError, UnitOfWork, UseCase};

/// The addresses of a request. Each is valid, or the rule that it breaks.
pub type AddressInputs = Vec<Result<EmailAddress, Reason>>;

/// One result for each address, in the order of the request.
pub type AddressResults<T> = Vec<Result<T, RefusedAddress>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAddress {
    /// The first violation is the most important one.
    pub violations: Vec<Violation>,
    /// The index of the first item with the same address, for a duplicate.
    pub first_index: Option<usize>,
}

pub struct AddSuppressions {
    pub actor: Actor,
    /// `None` for all organizations.
    pub organization_id: Option<OrganizationId>,
    pub items: Vec<SuppressionInput>,
}

/// An item as a caller sends it. Not `Debug`, because it holds an address.
pub struct SuppressionInput {
    pub email: Result<EmailAddress, Reason>,
    /// `None` for a value that the protocol does not define.
    pub reason: Option<SuppressionReason>,
    pub end: SuppressionEnd,
}

/// When a new entry ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuppressionEnd {
    /// The reason decides.
    Default,
    At(OffsetDateTime),
    /// No point in time.
    Malformed,
}

impl SuppressionInput {
    /// The reason and the end of the entry, or every rule that the item breaks.
    fn check(
        &self,
        now: OffsetDateTime,
    ) -> Result<(SuppressionReason, Option<OffsetDateTime>), Vec<Violation>> {
        let mut violations = Vec::new();
        if let Err(reason) = self.email {
            violations.push(Violation::new("email", reason));
        }
        if self.reason.is_none() {
            violations.push(Violation::new("reason", Reason::FieldInvalid));
        }
        let is_future = match self.end {
            SuppressionEnd::Default => true,
            SuppressionEnd::At(end) => end > now,
            SuppressionEnd::Malformed => false,
        };
        if !is_future {
            violations.push(Violation::new("expire_time", Reason::FieldInvalid));
        }
        let Some(reason) = self.reason.filter(|_| violations.is_empty()) else {
            return Err(violations);
        };
        let end = match self.end {
            SuppressionEnd::At(end) => Some(end),
            _ => reason.ends_at(now),
        };
        Ok((reason, end))
    }
}

/// What was done with an address that was to be suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddOutcome {
    Added,
    /// The address was suppressed, and its entry was changed.
    Updated,
    /// A stronger entry stays.
    Kept,
}

impl UseCase for AddSuppressions {
    const NAME: &'static str = "add_suppressions";
    type Output = AddressResults<AddOutcome>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let now = work.context.now();
        let organization_id = list_owner(work, self.organization_id.as_ref()).await?;
        let tagger = work.context.suppression.tagger();
        let emails = distinct(self.items.iter().map(|item| &item.email));
        let mut rows = Vec::new();
        let mut checked = Vec::with_capacity(self.items.len());
        for (item, email) in self.items.iter().zip(emails) {
            let checked_item = match (item.check(now), email) {
                (Ok((reason, expires_at)), Ok(email)) => {
                    let tag = tagger.tag_of_normalized(email);
                    rows.push(SuppressionRow {
                        organization_id: organization_id.to_owned(),
                        tag,
                        reason,
                        expires_at,
                    });
                    Ok(tag)
                }
                (Err(violations), _) => Err(RefusedAddress {
                    violations,
                    first_index: None,
                }),
                (Ok(_), Err(refused)) => Err(refused),
            };
            checked.push(checked_item);
        }
        let written = suppressions::upsert_many(work, &rows, now).await?;
        let written: HashMap<_, _> = written
            .into_iter()
            .map(|written| (written.tag, written.was_suppressed))
            .collect();
        let mut counts = AuditCounts::default();
        let mut results = Vec::with_capacity(checked.len());
        for item in checked {
            let result = item.map(|tag| match written.get(&tag.bytes) {
                Some(false) => AddOutcome::Added,
                Some(true) => AddOutcome::Updated,
                None => AddOutcome::Kept,
            });
            *match result {
                Ok(AddOutcome::Added) => &mut counts.created,
                Ok(AddOutcome::Updated) => &mut counts.updated,
                Ok(AddOutcome::Kept) => &mut counts.unchanged,
                Err(_) => &mut counts.failed,
            } += 1;
            results.push(result);
        }
        let action = AuditAction::AddSuppressions;
        work.record(&self.actor, action, organization_id, counts, now)
            .await?;
        Ok(results)
    }
}

/// Removes addresses from the list, whatever the reason of their entries.
pub struct LiftSuppressions {
    pub actor: Actor,
    /// `None` for the entries of all organizations. Entries of single organizations stay.
    pub organization_id: Option<OrganizationId>,
    pub emails: AddressInputs,
}

/// What was done with an address that was to be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiftOutcome {
    Lifted,
    NotSuppressed,
}

impl UseCase for LiftSuppressions {
    const NAME: &'static str = "lift_suppressions";
    type Output = AddressResults<LiftOutcome>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let now = work.context.now();
        planner::force_custom_plans(work).await?;
        let organization_id = list_owner(work, self.organization_id.as_ref()).await?;
        let addresses = distinct(&self.emails);
        let tagger = work.context.suppression.tagger();
        let tags: Vec<_> = addresses
            .iter()
            .flatten()
            .flat_map(|email| tagger.tags_of_normalized(email))
            .collect();
        let lifted = suppressions::delete_many(work, organization_id, &tags, now).await?;
        let lifted: HashSet<_> = lifted.into_iter().collect();
        let mut counts = AuditCounts::default();
        let mut results = Vec::with_capacity(addresses.len());
        for address in addresses {
            let result = address.map(|email| {
                let mut tags = tagger.tags_of_normalized(email);
                if tags.any(|tag| lifted.contains(&tag.bytes)) {
                    LiftOutcome::Lifted
                } else {
                    LiftOutcome::NotSuppressed
                }
            });
            *match result {
                Ok(LiftOutcome::Lifted) => &mut counts.deleted,
                Ok(LiftOutcome::NotSuppressed) => &mut counts.unchanged,
                Err(_) => &mut counts.failed,
            } += 1;
            results.push(result);
        }
        let action = AuditAction::LiftSuppressions;
        work.record(&self.actor, action, organization_id, counts, now)
            .await?;
        Ok(results)
    }
}

/// Reads a page of the list. The list holds keyed tags, so only a caller that names an address can find its entry.
pub struct ListSuppressions {
    /// `None` for every entry.
    pub organization_id: Option<OrganizationId>,
    pub email: Option<EmailAddress>,
    pub reason: Option<SuppressionReason>,
    /// The last entry of the page before.
    pub after: Option<SuppressionKey>,
    pub page_size: usize,
}

impl UseCase for ListSuppressions {
    const NAME: &'static str = "list_suppressions";
    type Output = ResultPage<Suppression>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        // One plan for all combinations of filters would read the whole list for each page.
        planner::force_custom_plans(work).await?;
        list_owner(work, self.organization_id.as_ref()).await?;
        let tagger = work.context.suppression.tagger();
        let (id, email) = (self.organization_id.as_ref(), self.email.as_ref());
        let filter = SuppressionFilter {
            organization_id: id.map(|id| id.as_str().to_owned()),
            tags: email.map(|email| tagger.tags(email).collect()),
            reason: self.reason,
        };
        let limit = ResultPage::<Suppression>::rows_max(self.page_size);
        let after = self.after.as_ref();
        let now = work.context.now();
        let rows = suppressions::list(work, &filter, after, limit, now).await?;
        Ok(ResultPage::new(rows, self.page_size))
    }
}

/// The normalized form of each address. Of several equal addresses, all but the first are refused.
fn distinct<'a>(
    inputs: impl IntoIterator<Item = &'a Result<EmailAddress, Reason>>,
) -> AddressResults<&'a str> {
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    let refused = |reason, first_index| RefusedAddress {
        violations: vec![Violation::new("email", reason)],
        first_index,
    };
    let inputs = inputs.into_iter().enumerate();
    inputs
        .map(|(index, email)| {
            let email = email.as_ref().map_err(|reason| refused(*reason, None))?;
            let first = *first_of.entry(email.normalized()).or_insert(index);
            if first != index {
                return Err(refused(Reason::DuplicateInRequest, Some(first)));
            }
            Ok(email.normalized())
        })
        .collect()
}

/// The name of an organization in the list, after a check that it exists.
async fn list_owner<'a>(
    work: &mut UnitOfWork<'_>,
    organization_id: Option<&'a OrganizationId>,
) -> Result<&'a str, ServiceError> {
    match organization_id {
        None => Ok(EVERY_ORGANIZATION),
        Some(id) => {
            work.require_organization(id).await?;
            Ok(id.as_str())
        }
    }
}
