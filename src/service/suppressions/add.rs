//! `SuppressionService.Add`.

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::domain::suppression::SuppressionReason;
use crate::service::ServiceError;
use crate::service::runner::UseCase;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::audit_events;
use crate::store::suppressions::{self, SuppressionRow};

use super::addresses::{AddressInputs, AddressResults, distinct, list_owner, results};

/// Suppresses addresses by hand.
pub struct AddSuppressions {
    pub actor: Actor,
    /// `None` for all organizations.
    pub organization_id: Option<OrganizationId>,
    pub emails: AddressInputs,
    /// `None` for an entry that stays until it is lifted.
    pub expires_at: Option<OffsetDateTime>,
}

/// What was done with an address.
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

    async fn run(
        &self,
        work: &mut UnitOfWork<'_>,
    ) -> Result<AddressResults<AddOutcome>, ServiceError> {
        let now = work.context.now();
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(ServiceError::invalid("expire_time", Reason::FieldInvalid));
        }
        let organization_id = list_owner(work, self.organization_id.as_ref()).await?;
        let addresses = distinct(&self.emails);
        let tagger = work.context.suppression.tagger();
        let row = |email: &String| SuppressionRow {
            organization_id: organization_id.to_owned(),
            tag: tagger.tag_of_normalized(email),
            reason: SuppressionReason::Manual,
            expires_at: self.expires_at,
        };
        let rows: Vec<SuppressionRow> = addresses.iter().flatten().map(row).collect();
        let written = suppressions::upsert_many(work, &rows, now).await?;
        let written: HashMap<_, _> = written
            .into_iter()
            .map(|written| (written.tag, written.was_suppressed))
            .collect();
        let mut rows = rows.into_iter();
        let results = results(addresses, |_| {
            match rows.next().and_then(|row| written.get(&row.tag.bytes)) {
                Some(false) => AddOutcome::Added,
                Some(true) => AddOutcome::Updated,
                None => AddOutcome::Kept,
            }
        });
        let event = AuditEvent {
            counts: counts(&results),
            ..work.context.audit_event(
                &self.actor,
                AuditAction::AddSuppressions,
                organization_id,
                now,
            )
        };
        audit_events::insert_many(work, &[event]).await?;
        Ok(results)
    }
}

fn counts(results: &AddressResults<AddOutcome>) -> AuditCounts {
    let mut counts = AuditCounts::default();
    for result in results {
        *match result {
            Ok(AddOutcome::Added) => &mut counts.created,
            Ok(AddOutcome::Updated) => &mut counts.updated,
            Ok(AddOutcome::Kept) => &mut counts.unchanged,
            Err(_) => &mut counts.failed,
        } += 1;
    }
    counts
}
