//! Which items quotas refuse, and what a batch uses of quotas.

use uuid::Uuid;

use crate::domain::quota::{ExceededQuota, QuotaRequest};
use crate::domain::reason::{Reason, Violation};
use crate::service::quotas::{QuotaUsage, Quotas};
use crate::service::{Context, ItemOutcome, ItemResult, ServiceError, UnitOfWork};

use super::batch_terms::BatchTerms;
use super::plan::{CreateStep, Plan};

/// Refuses the items for which quotas have no room. The first that fit stay. Under the shared lock only the limit on sending
/// one invitation again is checked, because the others are reserved at the end.
pub(super) async fn refuse_beyond_quotas(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &mut Plan,
) -> Result<(), ServiceError> {
    let (quotas, organization_id) = (&work.context.quotas, &terms.organization_id);
    let now = plan.now;
    let ids: Vec<Uuid> = plan
        .steps
        .iter()
        .filter_map(CreateStep::resent_id)
        .collect();
    let mailed = quotas.recent_mail(work, organization_id, &ids, now).await?;
    for step in &mut plan.steps {
        let CreateStep::Resend { id, send_seq, .. } = step else {
            continue;
        };
        let mailed = mailed.get(id);
        *send_seq = mailed.map(|mailed| mailed.send_seq);
        if let Some(exceeded) = quotas.resend_obstacle(mailed, now) {
            *step = CreateStep::exceeds(exceeded);
        }
    }
    if !work.lock.is_exclusive() && !terms.validate_only {
        return Ok(());
    }
    let requests: Vec<Option<QuotaRequest>> = plan
        .steps
        .iter()
        .map(|step| step.quota_request(quotas))
        .collect();
    let addresses = requests
        .iter()
        .flatten()
        .filter_map(|request| request.address)
        .collect();
    let mut left = quotas
        .allowance(work, organization_id, addresses, now)
        .await?;
    for (step, request) in plan.steps.iter_mut().zip(requests) {
        if let Some(Err(quota)) = request.map(|request| left.reserve(&request)) {
            *step = CreateStep::exceeds(quotas.exceeded(quota, now));
        }
    }
    Ok(())
}

/// What a written batch uses. An item whose address a concurrent call had invited uses nothing.
pub(super) fn usage(context: &Context, plan: &Plan, results: &[ItemResult]) -> QuotaUsage {
    let written = plan.steps.iter().zip(results).filter(|(_, result)| {
        matches!(
            result.outcome,
            ItemOutcome::Created | ItemOutcome::Replaced | ItemOutcome::Resent
        )
    });
    QuotaUsage::new(written.filter_map(|(step, _)| step.quota_request(&context.quotas)))
}

impl CreateStep {
    const fn resent_id(&self) -> Option<Uuid> {
        match self {
            Self::Resend { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// What it uses of quotas. `None` if it creates and sends nothing.
    fn quota_request(&self, quotas: &Quotas) -> Option<QuotaRequest> {
        let (item, is_mailed, is_new_pending) = match self {
            Self::Create(item) => (item, item.notify, true),
            Self::Replace(item, _) => (item, item.notify, false),
            Self::Resend { item, .. } => (item, true, false),
            Self::Return(_) | Self::Fail { .. } => return None,
        };
        Some(QuotaRequest {
            address: is_mailed
                .then(|| quotas.address_hash(item.email.normalized()))
                .flatten(),
            is_new_pending,
        })
    }

    fn exceeds(exceeded: ExceededQuota) -> Self {
        Self::Fail {
            violations: vec![Violation::new("email", Reason::QuotaExceeded)],
            first_index: None,
            pending_id: None,
            exceeded: Some(exceeded),
        }
    }
}
