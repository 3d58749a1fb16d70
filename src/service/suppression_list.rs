//! The suppression list inside a transaction: finding addresses and adding them.
//!
//! The list holds keyed tags instead of addresses (ADR 14).

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::domain::address_tag::{AddressTag, AddressTagger};
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::domain::suppression::SuppressionReason;
use crate::store::Connection;
use crate::store::suppressions::{self, SuppressionRow};

use super::ServiceError;

pub(super) struct SuppressionList {
    tagger: AddressTagger,
}

impl SuppressionList {
    pub(super) fn new(keyring: &Keyring) -> Self {
        Self {
            tagger: AddressTagger::new(keyring),
        }
    }

    pub(super) const fn tagger(&self) -> &AddressTagger {
        &self.tagger
    }

    /// The suppressed ones among addresses, with the strongest reason for each.
    pub(super) async fn find(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        emails_normalized: &[&str],
        now: OffsetDateTime,
    ) -> Result<HashMap<String, SuppressionReason>, ServiceError> {
        let tagged = self.tag(emails_normalized);
        find_tagged(connection, organization_id, &tagged, now).await
    }

    /// Addresses with each of the tags under which they may be suppressed: one for each key.
    pub(super) fn tag<'a>(&self, emails_normalized: &[&'a str]) -> Vec<(AddressTag, &'a str)> {
        emails_normalized
            .iter()
            .flat_map(|email| {
                let tags = self.tagger.tags_of_normalized(email);
                tags.map(move |tag| (tag, *email)).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// [`SuppressionList::find`] for addresses whose tags were computed before.
pub(super) async fn find_tagged(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    tagged: &[(AddressTag, &str)],
    now: OffsetDateTime,
) -> Result<HashMap<String, SuppressionReason>, ServiceError> {
    let tags: Vec<&[u8]> = tagged.iter().map(|(tag, _)| tag.bytes.as_slice()).collect();
    let found = suppressions::reasons(connection, organization_id, &tags, now).await?;
    let mut strongest = HashMap::with_capacity(found.len());
    if found.is_empty() {
        return Ok(strongest);
    }
    let email_of: HashMap<_, _> = tagged
        .iter()
        .map(|(tag, email)| (tag.bytes, *email))
        .collect();
    for (tag, reason) in found {
        if let Some(email) = email_of.get(&tag) {
            let known = strongest.entry((*email).to_owned()).or_insert(reason);
            *known = reason.max(*known);
        }
    }
    Ok(strongest)
}

/// Suppresses an address for an organization, for as long as the reason lasts. Returns whether it was not suppressed before.
pub(super) async fn suppress(
    connection: &mut Connection<'_>,
    organization_id: &str,
    tag: AddressTag,
    reason: SuppressionReason,
    now: OffsetDateTime,
) -> Result<bool, ServiceError> {
    let row = SuppressionRow {
        organization_id: organization_id.to_owned(),
        tag,
        reason,
        expires_at: reason.ends_at(now),
    };
    let written = suppressions::upsert_many(connection, &[row], now).await?;
    Ok(written.iter().any(|written| !written.was_suppressed))
}
