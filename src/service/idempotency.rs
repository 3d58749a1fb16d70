//! Calls that may be repeated: the first one under a request id does the work, later ones are answered as it was.

use time::Duration;

use crate::domain::reason::Reason;
use crate::store::Connection;
use crate::store::idempotency_keys::{self, RequestKey};

use super::{Service, ServiceError};

/// How long a request id is remembered.
pub(super) const REQUEST_ID_TTL: Duration = Duration::hours(24);

impl Service {
    /// The stored answer of an earlier call with this request id, or `None` if this is the first; then the id is claimed
    /// for this transaction, so that a twin in flight waits for it. A dry run claims nothing.
    ///
    /// # Errors
    ///
    /// `REQUEST_ID_REUSED` where the earlier call asked for something else.
    pub(super) async fn recall(
        &self,
        connection: &mut Connection<'_>,
        key: &RequestKey,
        request_hash: &[u8; 32],
        is_dry_run: bool,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let now = self.clock.now();
        let forget_before = now - REQUEST_ID_TTL;
        if !is_dry_run
            && idempotency_keys::claim(connection, key, request_hash, now, forget_before).await?
        {
            return Ok(None);
        }
        let Some(stored) = idempotency_keys::get(connection, key, forget_before).await? else {
            // A dry run with a fresh id; or the earlier call was forgotten this moment, and the next try will see that.
            return if is_dry_run {
                Ok(None)
            } else {
                Err(ServiceError::Raced)
            };
        };
        if stored.request_hash != request_hash {
            return Err(ServiceError::Refused(Reason::RequestIdReused));
        }
        stored.response.map(Some).ok_or(ServiceError::Corrupt(
            "a committed request id has no response",
        ))
    }
}
