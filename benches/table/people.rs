//! People nobody has invited yet, and the rows that stand for them.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use invitations::clock::{Clock as _, SystemClock};
use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::{IdSource, OrganizationId, UserId};
use invitations::domain::invitation::AcceptPolicy;
use invitations::domain::new_invitation::NewInvitation;
use invitations::domain::reminder::ReminderLead;
use invitations::domain::role::Role;
use invitations::entropy;
use invitations::store::invitations::{BatchRow, InvitationRow};
use time::OffsetDateTime;
use uuid::Uuid;

/// The organization they are invited into.
pub(crate) const ORGANIZATION: &str = "acme";
/// Who invites them.
pub(crate) const INVITER: &str = "ada";
/// The signing keys: one.
pub(crate) const KEYS: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
/// Its id.
pub(crate) const KEY_ID: u8 = 1;

/// A source of people.
pub(crate) struct People {
    ids: IdSource,
    met: u64,
}

/// A batch as the service would write it.
pub(crate) struct Batch {
    pub(crate) organization_id: OrganizationId,
    pub(crate) id: Uuid,
    pub(crate) now: OffsetDateTime,
    /// Sorted by address.
    pub(crate) rows: Vec<InvitationRow>,
}

impl Batch {
    /// Sorts the rows.
    pub(crate) fn new(
        id: Uuid,
        now: OffsetDateTime,
        mut rows: Vec<InvitationRow>,
    ) -> anyhow::Result<Self> {
        rows.sort_unstable_by(|one, other| {
            one.item
                .email
                .normalized()
                .cmp(other.item.email.normalized())
        });
        let organization_id = OrganizationId::parse(ORGANIZATION).context("no organization")?;
        Ok(Self {
            organization_id,
            id,
            now,
            rows,
        })
    }

    /// What is the same for all rows.
    pub(crate) fn row(&self) -> BatchRow<'_> {
        BatchRow {
            organization_id: &self.organization_id,
            batch_id: self.id,
            key_id: KEY_ID,
            now: self.now,
        }
    }
}

impl People {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self {
            ids: IdSource::new(),
            met: 0,
        }
    }

    /// As many people nobody has met, for somebody else to meet.
    pub(crate) fn some(&mut self, count: usize) -> Self {
        let met = self.met;
        self.met += count as u64;
        Self {
            ids: IdSource::new(),
            met,
        }
    }

    /// Fresh addresses. They land all over the index, as addresses of people do.
    pub(crate) fn emails(&mut self, count: usize) -> Vec<String> {
        let first = self.met;
        self.met += count as u64;
        // An odd factor maps the numbers one to one, far away from each other.
        (first..self.met)
            .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .map(|scattered| format!("person.{scattered:016x}@example.com"))
            .collect()
    }

    /// Fresh rows, as [`Service::bulk_create`](invitations::service::Service::bulk_create) makes them.
    pub(crate) fn batch(&mut self, count: usize) -> anyhow::Result<Batch> {
        let now = SystemClock.now();
        let expires_at = expiry(now)?;
        let id = self.ids.next(now);
        let rows = self
            .emails(count)
            .iter()
            .enumerate()
            .map(|(index, email)| {
                Ok(InvitationRow {
                    id: self.ids.next(now),
                    nonce: entropy::random_bytes(),
                    item: Arc::new(item(index, email, expires_at)?),
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Batch::new(id, now, rows)
    }
}

/// When an invitation of now expires.
pub(crate) fn expiry(now: OffsetDateTime) -> anyhow::Result<OffsetDateTime> {
    Expiry::Default
        .resolve(now)
        .map_err(|reason| anyhow!("the default expiry is refused: {}", reason.code()))
}

/// An invitation of somebody of whom nothing but an address is known.
pub(crate) fn item(
    index: usize,
    email: &str,
    expires_at: OffsetDateTime,
) -> anyhow::Result<NewInvitation> {
    Ok(NewInvitation {
        index,
        email: EmailAddress::parse(email).map_err(|_| anyhow!("no address"))?,
        role: Role::parse(Role::MEMBER).context("no role")?,
        inviter_user_id: UserId::parse(INVITER).context("no user")?,
        redirect_url: String::new(),
        public_metadata: None,
        private_metadata: None,
        expires_at,
        notify: true,
        locale: String::new(),
        message: String::new(),
        accept_policy: AcceptPolicy::InvitedEmail,
        reminder_lead: ReminderLead::NEVER,
    })
}
