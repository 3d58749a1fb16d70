//! What quotas leave of a plan, and what a batch takes of them.

use uuid::Uuid;

use crate::domain::address_hash::AddressHasher;
use crate::domain::quota::{ExceededQuota, QuotaRequest};
use crate::domain::reason::{Reason, Violation};
use crate::store::Connection;

use super::plan::{Plan, Step};
use super::{Batch, BulkCreate, Outcome};
use crate::service::quota::{Taking, Turn};
use crate::service::{Service, ServiceError};

impl Service {
    /// Fails the items that quotas have no room for, the first that fit are left. Beside others only what invitations
    /// themselves are limited to is looked at: the rest is taken in the end.
    pub(super) async fn keep_quotas(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &mut Plan,
        turn: &Turn,
    ) -> Result<(), ServiceError> {
        let (organization_id, now) = (&request.organization_id, plan.now);
        let ids: Vec<Uuid> = plan.steps.iter().filter_map(Step::resent_id).collect();
        let mailed = self.mailed(connection, organization_id, &ids, now).await?;
        for step in &mut plan.steps {
            let Step::Resend { id, send_seq, .. } = step else {
                continue;
            };
            *send_seq = mailed.get(id).map(|mailed| mailed.send_seq);
            if let Some(exceeded) = self.resend_obstacle(&mailed, *id, now) {
                *step = exceeds(exceeded);
            }
        }
        if !turn.is_alone() && !request.validate_only {
            return Ok(());
        }
        let hasher = self.hasher_of_quotas();
        let asks: Vec<Option<QuotaRequest>> =
            plan.steps.iter().map(|step| step.ask(hasher)).collect();
        let addresses = asks
            .iter()
            .flatten()
            .filter_map(|ask| ask.address)
            .collect();
        let mut left = self
            .allowance(connection, organization_id, addresses, now)
            .await?;
        for (step, ask) in plan.steps.iter_mut().zip(asks) {
            if let Some(Err(quota)) = ask.map(|ask| left.take(&ask)) {
                *step = exceeds(self.quotas.exceeded(quota, now));
            }
        }
        Ok(())
    }

    /// `None` where mails to an address are not counted.
    fn hasher_of_quotas(&self) -> Option<&AddressHasher> {
        self.quotas.address_daily.map(|_| self.hasher.as_ref())
    }

    /// Takes what a batch used; if there is no room for it, it is to be done once more, alone.
    pub(super) async fn take_quotas(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
        batch: &Batch,
        turn: &Turn,
    ) -> Result<(), ServiceError> {
        // What another call had made pending by the time of the write took nothing.
        let done = plan.steps.iter().zip(&batch.results);
        let hasher = self.hasher_of_quotas();
        let asks: Vec<QuotaRequest> = done
            .filter(|(_, result)| {
                matches!(
                    result.outcome,
                    Outcome::Created | Outcome::Replaced | Outcome::Resent
                )
            })
            .filter_map(|(step, _)| step.ask(hasher))
            .collect();
        let taking = Taking {
            organization_id: &request.organization_id,
            recipients: asks.len(),
            new_pending: asks.iter().filter(|ask| ask.is_new_pending).count(),
            addresses: asks.iter().filter_map(|ask| ask.address).collect(),
        };
        match self.take(connection, taking, plan.now).await? {
            None => Ok(()),
            Some(_) => Err(turn.alone_next()),
        }
    }
}

impl Plan {
    /// For an atomic call: the quotas that failing items exceed, each once.
    pub(super) fn exceeded(&self) -> Vec<ExceededQuota> {
        let mut exceeded: Vec<ExceededQuota> = Vec::new();
        for step in &self.steps {
            let Step::Fail {
                exceeded: Some(one),
                ..
            } = step
            else {
                continue;
            };
            match exceeded.iter_mut().find(|known| known.quota == one.quota) {
                Some(known) => known.retry_after = known.retry_after.max(one.retry_after),
                None => exceeded.push(*one),
            }
        }
        exceeded
    }
}

impl Step {
    const fn resent_id(&self) -> Option<Uuid> {
        match self {
            Self::Resend { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// What it takes of quotas; `None` if it makes and mails nothing.
    fn ask(&self, hasher: Option<&AddressHasher>) -> Option<QuotaRequest> {
        let (item, is_mailed, is_new_pending) = match self {
            Self::Create(item) => (item, item.notify, true),
            Self::Replace(item, _) => (item, item.notify, false),
            Self::Resend { item, .. } => (item, true, false),
            Self::Return(_) | Self::Fail { .. } => return None,
        };
        Some(QuotaRequest {
            address: hasher
                .filter(|_| is_mailed)
                .map(|hasher| hasher.hash(item.email.normalized())),
            is_new_pending,
        })
    }
}

fn exceeds(exceeded: ExceededQuota) -> Step {
    Step::Fail {
        violations: vec![Violation::new("email", Reason::QuotaExceeded)],
        first_index: None,
        pending_id: None,
        exceeded: Some(exceeded),
    }
}
