//! New email addresses, and the reference of BulkCreate: the service's insert statement over a connection pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow, ensure};
use invitations::clock::{Clock as _, SystemClock};
use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::{IdSource, OrganizationId, UserId};
use invitations::domain::invitation::AcceptPolicy;
use invitations::domain::new_invitation::NewInvitation;
use invitations::domain::reminder::ReminderLead;
use invitations::domain::role::RoleId;
use invitations::entropy;
use invitations::store::invitations::{InvitationBatch, InvitationRow, insert_many};
use invitations::store::{Store, StoreError};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::seed::{INVITER, KEY_ID, ORGANIZATION};

/// Addresses that no database contains yet. They are spread over an index, like the addresses of people.
#[derive(Clone, Default)]
pub(crate) struct AddressSource {
    next: Arc<AtomicU64>,
}

impl AddressSource {
    pub(crate) fn take(&self, count: usize) -> Vec<String> {
        let first = self.next.fetch_add(count as u64, Ordering::Relaxed);
        (first..first + count as u64)
            // Multiplying by an odd number gives each number another one, far away from its neighbors.
            .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .map(|scattered| format!("person.{scattered:016x}@example.com"))
            .collect()
    }
}

/// The rows that BulkCreate inserts for items that contain an address alone.
pub(crate) struct InsertBatch {
    organization_id: OrganizationId,
    id: Uuid,
    now: OffsetDateTime,
    rows: Vec<InvitationRow>,
}

impl InsertBatch {
    pub(crate) fn new(emails: &[String]) -> anyhow::Result<Arc<Self>> {
        let now = SystemClock.now();
        let expires_at = Expiry::Default
            .resolve(now)
            .map_err(|_| anyhow!("the default expiry is refused"))?;
        let ids = IdSource::new();
        let mut rows = Vec::with_capacity(emails.len());
        for (index, email) in emails.iter().enumerate() {
            let item = NewInvitation {
                index,
                email: EmailAddress::parse(email).map_err(|_| anyhow!("the address is refused"))?,
                role: RoleId::parse(RoleId::MEMBER).context("the role is refused")?,
                inviter_user_id: UserId::parse(INVITER).context("the user id is refused")?,
                redirect_url: String::new(),
                public_metadata: None,
                private_metadata: None,
                expires_at,
                notify: true,
                locale: String::new(),
                message: String::new(),
                accept_policy: AcceptPolicy::InvitedEmail,
                reminder_lead: ReminderLead::NEVER,
            };
            rows.push(InvitationRow {
                id: ids.next(now),
                nonce: entropy::random_bytes(),
                item: Arc::new(item),
            });
        }
        // `insert_many` requires this order.
        rows.sort_by_cached_key(|row| row.item.email.normalized().to_owned());
        Ok(Arc::new(Self {
            organization_id: OrganizationId::parse(ORGANIZATION).context("no organization id")?,
            id: ids.next(now),
            now,
            rows,
        }))
    }

    /// Inserts the batch in a transaction of its own.
    pub(crate) async fn insert(store: Store, batch: Arc<Self>) -> anyhow::Result<()> {
        let shared = Arc::clone(&batch);
        let inserted = store
            .with_tx::<_, StoreError, _>("bench", move |connection| {
                let batch = Arc::clone(&shared);
                Box::pin(async move {
                    let row = InvitationBatch {
                        organization_id: &batch.organization_id,
                        batch_id: batch.id,
                        key_id: KEY_ID,
                        now: batch.now,
                    };
                    insert_many(connection, row, &batch.rows).await
                })
            })
            .await?;
        ensure!(
            inserted.len() == batch.rows.len(),
            "an address was invited before"
        );
        Ok(())
    }
}
