//! One issuer of JWTs: its entry in the callers file and its keys.

use std::sync::Arc;

use time::OffsetDateTime;

use super::caller::Caller;
use super::claims;
use super::entries::IssuerEntry;
use super::jwt::{JwtError, UnverifiedJwt};
use super::key_cache::KeyCache;
use super::key_origin::KeyOrigin;
use crate::clock::Clock;

pub(super) struct Issuer {
    entry: IssuerEntry,
    keys: KeyCache,
}

impl Issuer {
    /// Reads the keys if they are in a file.
    pub(super) fn new(entry: IssuerEntry, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let problem = |problem: String| format!("issuer {:?}: {problem}", entry.name);
        let origin = KeyOrigin::new(entry.keys.clone(), entry.roots_file.as_deref());
        let origin = origin.map_err(problem)?;
        let keys = KeyCache::new(entry.name.clone(), origin, clock).map_err(problem)?;
        Ok(Self { entry, keys })
    }

    pub(super) fn is_claimed_by(&self, token: &UnverifiedJwt<'_>) -> bool {
        claims::names(&token.claims, &self.entry)
    }

    pub(super) async fn verify(
        &self,
        token: &UnverifiedJwt<'_>,
        now: OffsetDateTime,
    ) -> Result<Caller, JwtError> {
        let claims = self.keys.verify(token).await?;
        claims::caller(&claims, &self.entry, now)
    }
}
