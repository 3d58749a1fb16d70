//! A claimed email with the content of its message.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::bounce_address::SentMail;
use crate::store::outbox::{ClaimedMail, MailContent, MailKey};
use crate::store::settlements::{SettledMail, Settlement};

/// How long the emails of a suspended organization wait, unless it is resumed.
pub(super) const SUSPENDED_PAUSE: Duration = Duration::from_mins(5);

pub(super) struct SendJob {
    pub(super) claimed: ClaimedMail,
    pub(super) lease_token: Uuid,
    /// `None` if the invitation or its organization was deleted.
    pub(super) content: Option<Arc<MailContent>>,
    pub(super) is_suppressed: bool,
    pub(super) read_at: Instant,
}

impl SendJob {
    /// The recipient's domain, in A-labels.
    pub(super) fn domain(&self) -> &str {
        let content = self.content.as_ref();
        content
            .and_then(|content| content.email_normalized.rsplit_once('@'))
            .map_or("", |(_, domain)| domain)
    }

    pub(super) fn is_organization_suspended(&self) -> bool {
        let content = self.content.as_ref();
        content.is_some_and(|content| content.is_organization_suspended)
    }

    pub(super) fn lease(&self) -> (MailKey, Uuid) {
        (self.claimed.key.clone(), self.lease_token)
    }

    pub(super) fn settled(&self, settlement: Settlement) -> SettledMail {
        SettledMail {
            key: self.claimed.key.clone(),
            lease_token: self.lease_token,
            settlement,
            suppression: None,
        }
    }

    /// Identifies the email in bounces and in reports of providers.
    pub(super) fn reference(&self) -> SentMail {
        SentMail {
            invitation_id: self.claimed.key.invitation_id,
            send_seq: self.claimed.key.send_seq,
        }
    }
}

/// The settlement of an email whose organization is suspended: it waits, and the attempt does not count.
pub(super) fn suspended(now: OffsetDateTime) -> Settlement {
    Settlement::Released {
        next_attempt_at: Some(now + SUSPENDED_PAUSE),
    }
}
