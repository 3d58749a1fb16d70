//! What the worker and its tasks share.

use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use super::delivery_config::DeliveryConfig;
use super::message_builder::MessageBuilder;
use super::settler::Settler;
use crate::clock::Clock;
use crate::entropy;
use crate::store::Store;
use crate::store::outbox::Lease;

pub(super) struct DeliveryContext {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) builder: MessageBuilder,
    pub(super) settler: Settler,
    pub(super) config: DeliveryConfig,
}

impl DeliveryContext {
    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// A lease from now on, with a random fencing token.
    pub(super) fn new_lease(&self) -> Lease {
        Lease {
            token: Uuid::from_bytes(entropy::random_bytes()),
            until: self.now() + self.config.lease_duration,
        }
    }
}
