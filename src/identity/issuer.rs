//! One issuer whose JWTs count: its table and its keys.

use std::sync::Arc;

use time::OffsetDateTime;

use super::caller::Caller;
use super::claims;
use super::issuer_entry::IssuerEntry;
use super::jwt::{Fault, Unverified};
use super::key_origin::KeyOrigin;
use super::key_source::KeySource;
use crate::clock::Clock;

/// An issuer.
pub(super) struct Issuer {
    entry: IssuerEntry,
    keys: KeySource,
}

impl Issuer {
    /// Prepares an issuer and reads its keys if they are a file.
    pub(super) fn new(entry: IssuerEntry, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let problem = |problem: String| format!("issuer {:?}: {problem}", entry.name);
        let origin = KeyOrigin::new(entry.keys.clone(), entry.roots_file.as_deref());
        let origin = origin.map_err(problem)?;
        let keys = KeySource::new(entry.name.clone(), origin, clock).map_err(problem)?;
        Ok(Self { entry, keys })
    }

    /// Whether a token says that it is of this issuer and for us. Nobody has vouched for that yet.
    pub(super) fn is_claimed_by(&self, token: &Unverified<'_>) -> bool {
        claims::names(&token.claims, &self.entry)
    }

    /// The caller that a token names, if it is genuine and counts now.
    pub(super) async fn verify(
        &self,
        token: &Unverified<'_>,
        now: OffsetDateTime,
    ) -> Result<Caller, Fault> {
        let claims = self.keys.verify(token).await?;
        claims::caller(&claims, &self.entry, now)
    }
}
