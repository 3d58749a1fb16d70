//! Unsubscribing by the link of a message: no more mail of any organization to the address.

use crate::domain::actor::Actor;
use crate::domain::address_tag::AddressTag;
use crate::domain::audit::{AuditAction, AuditCounts, NO_ORGANIZATION};
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::domain::unsubscribe_token;

use super::suppression_list::suppress;
use super::{Service, ServiceError, UnitOfWork, UseCase};

struct Unsubscribe {
    tag: AddressTag,
    actor: Actor,
}

impl Service {
    /// Suppresses the address of an unsubscribe token for all organizations. Returns `false` if the token is not genuine.
    pub async fn unsubscribe(&self, token: &str, actor: Actor) -> Result<bool, ServiceError> {
        let Some(tag) = unsubscribe_token::open(&self.context.keyring, token) else {
            return Ok(false);
        };
        self.run(Unsubscribe { tag, actor }).await?;
        Ok(true)
    }

    /// Whether an unsubscribe token is genuine. Reads nothing and changes nothing.
    pub fn is_unsubscribe_token(&self, token: &str) -> bool {
        unsubscribe_token::open(&self.context.keyring, token).is_some()
    }
}

impl UseCase for Unsubscribe {
    const NAME: &'static str = "unsubscribe";
    type Output = ();

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<(), ServiceError> {
        let now = work.context.now();
        let reason = SuppressionReason::Unsubscribed;
        let is_new = suppress(work, EVERY_ORGANIZATION, self.tag, reason, now).await?;
        // A link may be followed any number of times. Only the first time is recorded.
        if is_new {
            let action = AuditAction::Unsubscribe;
            let counts = AuditCounts {
                suppressed: 1,
                ..AuditCounts::default()
            };
            work.record(&self.actor, action, NO_ORGANIZATION, counts, now)
                .await?;
        }
        Ok(())
    }
}
