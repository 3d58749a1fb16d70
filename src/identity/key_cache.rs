//! The cached keys of one issuer: refreshed by one fetch at a time, and kept while the issuer fails.
//!
//! Only calls start a fetch. It runs in a task of its own, so that the end of one call does not cancel it for others.
//! Most calls do not wait: stale keys are used during a refresh.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration as StdDuration;

use arc_swap::ArcSwapOption;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use time::Duration;

use super::jwt::{Claims, JwtError, UnverifiedJwt};
use super::key_origin::KeyOrigin;
use super::key_set::KeySet;
use crate::clock::Clock;
use crate::shutdown;

/// Age at which keys are refreshed.
pub const KEYS_FRESH_FOR: Duration = Duration::minutes(10);
/// Age at which keys expire, even if the issuer is down. Tokens live about as long. A key that the issuer withdrew must
/// not be accepted forever.
pub const KEYS_KEPT_FOR: Duration = Duration::hours(1);
pub const REFRESH_PAUSE: Duration = Duration::seconds(10);
/// Pause between two fetches for unknown key ids, because anybody can make up key ids.
pub const UNKNOWN_KEY_PAUSE: Duration = Duration::seconds(30);

/// A running fetch that any number of calls can await.
type Refresh = Shared<BoxFuture<'static, ()>>;

#[derive(Clone)]
pub(super) struct KeyCache(Arc<KeyCacheState>);

struct KeyCacheState {
    /// The name of the issuer, for the log.
    issuer: String,
    origin: KeyOrigin,
    clock: Arc<dyn Clock>,
    cached: ArcSwapOption<CachedKeys>,
    refreshes: Mutex<RefreshHistory>,
}

/// Times are those of [`Clock::elapsed`].
struct CachedKeys {
    keys: KeySet,
    fetched_at: StdDuration,
}

#[derive(Default)]
struct RefreshHistory {
    running: Option<Refresh>,
    started_at: Option<StdDuration>,
    /// When the last fetch failed; `None` if it succeeded.
    failed_at: Option<StdDuration>,
    unknown_key_at: Option<StdDuration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// Usable while a refresh runs.
    Stale,
    /// Usable only after a refresh was tried, because none was tried for long.
    Outdated,
    /// Unusable, or there are no keys.
    Expired,
}

impl KeyCache {
    /// Reads keys that are in a file at once.
    pub(super) fn new(
        issuer: String,
        origin: KeyOrigin,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let bytes = origin.read_at_start().map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}"));
            format!("jwks_file: {error}{}", cause.unwrap_or_default())
        })?;
        let parse = |bytes: Vec<u8>| KeySet::parse(&bytes).ok_or("jwks_file: not a JWK Set");
        let keys = bytes.map(parse).transpose()?;
        if keys.as_ref().is_some_and(|keys| keys.len() == 0) {
            return Err("jwks_file: holds no key for RS256, ES256 or EdDSA with a kid".to_owned());
        }
        let fetched_at = clock.elapsed();
        let cached = keys.map(|keys| Arc::new(CachedKeys { keys, fetched_at }));
        Ok(Self(Arc::new(KeyCacheState {
            issuer,
            origin,
            clock,
            cached: ArcSwapOption::new(cached),
            refreshes: Mutex::default(),
        })))
    }

    pub(super) async fn verify(&self, token: &UnverifiedJwt<'_>) -> Result<Claims, JwtError> {
        let is_just_fetched = self.refresh_if_needed().await;
        let verified = self.verify_with_cached(token);
        if verified != Err(JwtError::KeyUnknown) {
            return verified;
        }
        // The issuer may have added the key after the last fetch.
        if !is_just_fetched && let Some(refresh) = self.refresh_for_unknown_key() {
            refresh.await;
        }
        let verified = self.verify_with_cached(token);
        if verified == Err(JwtError::KeyUnknown) && self.0.refreshes().failed_at.is_some() {
            // The issuer may have the key, but the fetch failed.
            return Err(JwtError::KeysUnavailable);
        }
        verified
    }

    fn verify_with_cached(&self, token: &UnverifiedJwt<'_>) -> Result<Claims, JwtError> {
        let cached = self.0.cached.load();
        let is_usable = |keys: &&CachedKeys| self.0.freshness(Some(keys)) != Freshness::Expired;
        let usable = cached.as_deref().filter(is_usable);
        usable.ok_or(JwtError::KeysUnavailable)?.keys.verify(token)
    }

    /// Starts a refresh if the keys are not fresh. Waits for it if they cannot be used meanwhile, and returns whether
    /// it waited.
    async fn refresh_if_needed(&self) -> bool {
        let freshness = self.0.freshness(self.0.cached.load().as_deref());
        if freshness == Freshness::Fresh {
            return false;
        }
        let now = self.0.clock.elapsed();
        let refresh = {
            let mut refreshes = self.0.refreshes();
            match &refreshes.running {
                Some(refresh) => refresh.clone(),
                None if is_within(refreshes.failed_at, REFRESH_PAUSE, now) => return false,
                None => self.start_refresh(&mut refreshes, now),
            }
        };
        if freshness == Freshness::Stale {
            // The first poll spawns the task.
            let _ = refresh.now_or_never();
            return false;
        }
        refresh.await;
        true
    }

    /// The refresh to await before a key counts as unknown. Returns `None` during a pause.
    fn refresh_for_unknown_key(&self) -> Option<Refresh> {
        let now = self.0.clock.elapsed();
        let mut refreshes = self.0.refreshes();
        if let Some(refresh) = &refreshes.running {
            return Some(refresh.clone());
        }
        if is_within(refreshes.unknown_key_at, UNKNOWN_KEY_PAUSE, now)
            || is_within(refreshes.failed_at, REFRESH_PAUSE, now)
        {
            return None;
        }
        refreshes.unknown_key_at = Some(now);
        Some(self.start_refresh(&mut refreshes, now))
    }

    fn start_refresh(&self, refreshes: &mut RefreshHistory, now: StdDuration) -> Refresh {
        let state = Arc::clone(&self.0);
        let refresh = async move {
            // After a panic the next call must be able to start another refresh.
            let fetch = AssertUnwindSafe(state.fetch()).catch_unwind();
            let is_fetched = fetch.await.unwrap_or(false);
            let now = state.clock.elapsed();
            let mut refreshes = state.refreshes();
            refreshes.running = None;
            refreshes.failed_at = (!is_fetched).then_some(now);
        };
        let refresh = shutdown::detached("keys", refresh).boxed().shared();
        refreshes.started_at = Some(now);
        refreshes.running = Some(refresh.clone());
        refresh
    }
}

impl KeyCacheState {
    /// Fetches the keys and replaces the cached ones. Returns `false` and keeps the cached keys if that failed.
    async fn fetch(&self) -> bool {
        let fetched = self.origin.read().await;
        match fetched.as_deref().map(KeySet::parse) {
            Ok(Some(keys)) => {
                self.log_fetched(&keys);
                let fetched_at = self.clock.elapsed();
                self.cached
                    .store(Some(Arc::new(CachedKeys { keys, fetched_at })));
                true
            }
            Ok(None) => {
                tracing::warn!(
                    issuer.name = self.issuer,
                    "the answer of the issuer is not a JWK Set"
                );
                false
            }
            Err(error) => {
                tracing::warn!(
                    issuer.name = self.issuer,
                    error = error as &dyn Error,
                    cause = error.source(),
                    "cannot fetch the keys of the issuer"
                );
                false
            }
        }
    }

    fn log_fetched(&self, keys: &KeySet) {
        let (count, ignored) = (keys.len(), keys.ignored_count);
        if count == 0 {
            tracing::warn!(
                issuer.name = self.issuer,
                keys.ignored = ignored,
                "the issuer has no usable key, so all of its tokens are refused"
            );
        } else {
            tracing::debug!(
                issuer.name = self.issuer,
                keys.count = count,
                keys.ignored = ignored,
                "fetched the keys of the issuer"
            );
        }
    }

    fn freshness(&self, cached: Option<&CachedKeys>) -> Freshness {
        let Some(cached) = cached else {
            return Freshness::Expired;
        };
        let now = self.clock.elapsed();
        match now.saturating_sub(cached.fetched_at) {
            age if age >= KEYS_KEPT_FOR => Freshness::Expired,
            age if age < KEYS_FRESH_FOR => Freshness::Fresh,
            // No refresh was started recently, successful or not.
            age if age >= 2 * KEYS_FRESH_FOR
                && !is_within(self.refreshes().started_at, KEYS_FRESH_FOR, now) =>
            {
                Freshness::Outdated
            }
            _ => Freshness::Stale,
        }
    }

    fn refreshes(&self) -> MutexGuard<'_, RefreshHistory> {
        let refreshes = self.refreshes.lock();
        refreshes.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `then` is less than `pause` before `now`.
fn is_within(then: Option<StdDuration>, pause: Duration, now: StdDuration) -> bool {
    then.is_some_and(|then| now.saturating_sub(then) < pause)
}
