//! `SuppressionService.Lift`.

use std::collections::HashSet;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::service::ServiceError;
use crate::service::runner::UseCase;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::{self, audit_events, suppressions};

use super::addresses::{AddressInputs, AddressResults, distinct, list_owner, results};

/// Removes addresses from the list, whatever the reason of their entries.
pub struct LiftSuppressions {
    pub actor: Actor,
    /// `None` for the entries of all organizations. Entries of single organizations stay.
    pub organization_id: Option<OrganizationId>,
    pub emails: AddressInputs,
}

/// What was done with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiftOutcome {
    Lifted,
    /// The address was not suppressed.
    NotSuppressed,
}

impl UseCase for LiftSuppressions {
    const NAME: &'static str = "lift_suppressions";
    type Output = AddressResults<LiftOutcome>;

    async fn run(
        &self,
        work: &mut UnitOfWork<'_>,
    ) -> Result<AddressResults<LiftOutcome>, ServiceError> {
        let now = work.context.now();
        store::planner::force_custom_plans(work).await?;
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
        let results = results(addresses, |email| {
            let mut tags = tagger.tags_of_normalized(email);
            if tags.any(|tag| lifted.contains(&tag.bytes)) {
                LiftOutcome::Lifted
            } else {
                LiftOutcome::NotSuppressed
            }
        });
        let event = AuditEvent {
            counts: counts(&results),
            ..work.context.audit_event(
                &self.actor,
                AuditAction::LiftSuppressions,
                organization_id,
                now,
            )
        };
        audit_events::insert_many(work, &[event]).await?;
        Ok(results)
    }
}

fn counts(results: &AddressResults<LiftOutcome>) -> AuditCounts {
    let mut counts = AuditCounts::default();
    for result in results {
        *match result {
            Ok(LiftOutcome::Lifted) => &mut counts.deleted,
            Ok(LiftOutcome::NotSuppressed) => &mut counts.unchanged,
            Err(_) => &mut counts.failed,
        } += 1;
    }
    counts
}
