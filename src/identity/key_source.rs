//! The keys of one issuer, cached: fresh enough, never fetched by two calls at once, and kept while the issuer fails.
//!
//! Calls drive it: nothing is fetched for an issuer that nobody comes from. A fetch runs in a task of its own, so that
//! a caller who hangs up does not end it for those who wait with them. Most calls wait for nothing: keys that have become
//! old are used while new ones are on their way.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use time::{Duration, OffsetDateTime};

use super::jwt::{Claims, Fault, Unverified};
use super::key_origin::KeyOrigin;
use super::key_set::KeySet;
use crate::clock::Clock;
use crate::shutdown;

/// Age from which keys are fetched anew.
pub const KEYS_FRESH_FOR: Duration = Duration::minutes(10);
/// Age until which keys count while the issuer cannot be asked. Tokens live for about as long, and who could get no new
/// token meanwhile has none to show; but a key that its issuer took back must not count for ever.
pub const KEYS_KEPT_FOR: Duration = Duration::hours(1);
/// How long an issuer that failed is left alone.
pub const REFRESH_PAUSE: Duration = Duration::seconds(10);
/// How often keys are fetched because a token names one that is not known: anybody can make up names.
pub const UNKNOWN_KEY_PAUSE: Duration = Duration::seconds(30);

/// A fetch that any number of calls wait for.
type Flight = Shared<BoxFuture<'static, ()>>;

/// The keys of an issuer. Cheap to clone; clones share them.
#[derive(Clone)]
pub(super) struct KeySource(Arc<Source>);

struct Source {
    issuer: String,
    origin: KeyOrigin,
    clock: Arc<dyn Clock>,
    held: ArcSwapOption<Held>,
    progress: Mutex<Progress>,
}

/// Keys and when they were fetched.
struct Held {
    keys: KeySet,
    fetched_at: OffsetDateTime,
}

/// What is being done about them.
#[derive(Default)]
struct Progress {
    flight: Option<Flight>,
    began_at: Option<OffsetDateTime>,
    failed_at: Option<OffsetDateTime>,
    missed_at: Option<OffsetDateTime>,
}

/// How the keys that are held can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// As they are.
    Fresh,
    /// While new ones are fetched.
    Old,
    /// Only once the issuer was asked for new ones, for nobody has for long.
    Unwatched,
    /// Not any more, or there are none.
    Gone,
}

impl KeySource {
    /// Keys from somewhere. Those of a file are read at once.
    pub(super) fn new(
        issuer: String,
        origin: KeyOrigin,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let bytes = origin
            .read_at_start()
            .map_err(|fault| format!("jwks_file: {fault}{}", cause(&fault)))?;
        let keys = bytes.map(|bytes| KeySet::parse(&bytes)).transpose();
        let keys = keys.map_err(|_| "jwks_file: not a JWK Set".to_owned())?;
        if keys.as_ref().is_some_and(|keys| keys.len() == 0) {
            return Err("jwks_file: holds no key for RS256, ES256 or EdDSA with a kid".to_owned());
        }
        let fetched_at = clock.now();
        let held = keys.map(|keys| Arc::new(Held { keys, fetched_at }));
        Ok(Self(Arc::new(Source {
            issuer,
            origin,
            clock,
            held: ArcSwapOption::new(held),
            progress: Mutex::default(),
        })))
    }

    /// The claims of a token that one of the keys has signed.
    pub(super) async fn verify(&self, token: &Unverified<'_>) -> Result<Claims, Fault> {
        let is_just_fetched = self.keep_fresh().await;
        let verified = self.try_verify(token);
        if verified != Err(Fault::KeyUnknown) {
            return verified;
        }
        // Its issuer may have a new key since the last fetch, unless that was this moment.
        if !is_just_fetched && let Some(flight) = self.flight_for_unknown_key() {
            flight.await;
        }
        let verified = self.try_verify(token);
        if verified == Err(Fault::KeyUnknown) && self.0.progress().failed_at.is_some() {
            // Perhaps the issuer knows the key, but it cannot be asked.
            return Err(Fault::KeysUnavailable);
        }
        verified
    }

    fn try_verify(&self, token: &Unverified<'_>) -> Result<Claims, Fault> {
        let held = self.0.held.load();
        match held.as_deref() {
            Some(held) if self.0.age(Some(held)) != Age::Gone => held.keys.verify(token),
            _ => Err(Fault::KeysUnavailable),
        }
    }

    /// Has keys fetched that are not fresh, and waits for that only if there are none that could be used meanwhile. Says
    /// whether it waited.
    async fn keep_fresh(&self) -> bool {
        let age = self.0.age(self.0.held.load().as_deref());
        if age == Age::Fresh {
            return false;
        }
        let now = self.0.clock.now();
        let flight = {
            let mut progress = self.0.progress();
            match &progress.flight {
                Some(flight) => flight.clone(),
                None if is_within(progress.failed_at, REFRESH_PAUSE, now) => return false,
                None => self.begin(&mut progress, now),
            }
        };
        if age == Age::Old {
            // Looking at it once is what starts the task.
            let _ = flight.now_or_never();
            return false;
        }
        flight.await;
        true
    }

    /// The fetch to wait for before a key counts as unknown; `None` if there was one just now.
    fn flight_for_unknown_key(&self) -> Option<Flight> {
        let now = self.0.clock.now();
        let mut progress = self.0.progress();
        if let Some(flight) = &progress.flight {
            return Some(flight.clone());
        }
        if is_within(progress.missed_at, UNKNOWN_KEY_PAUSE, now)
            || is_within(progress.failed_at, REFRESH_PAUSE, now)
        {
            return None;
        }
        progress.missed_at = Some(now);
        Some(self.begin(&mut progress, now))
    }

    fn begin(&self, progress: &mut Progress, now: OffsetDateTime) -> Flight {
        let source = Arc::clone(&self.0);
        let refresh = async move {
            // Whatever happens, the next call must be able to try again.
            let refreshing = AssertUnwindSafe(source.refresh()).catch_unwind();
            let is_fetched = refreshing.await.unwrap_or(false);
            let now = source.clock.now();
            let mut progress = source.progress();
            progress.flight = None;
            progress.failed_at = (!is_fetched).then_some(now);
        };
        let flight = shutdown::detached("keys", refresh).boxed().shared();
        progress.began_at = Some(now);
        progress.flight = Some(flight.clone());
        flight
    }
}

impl Source {
    /// Fetches the keys and puts them in the place of the old ones, which stay if that fails; says whether it worked.
    async fn refresh(&self) -> bool {
        let fetched = self.origin.read().await;
        match fetched.as_deref().map(KeySet::parse) {
            Ok(Ok(keys)) => {
                self.tell(&keys);
                let fetched_at = self.clock.now();
                self.held.store(Some(Arc::new(Held { keys, fetched_at })));
                true
            }
            Ok(Err(_)) => {
                tracing::warn!(
                    issuer.name = self.issuer,
                    "the issuer's answer is no key set"
                );
                false
            }
            Err(fault) => {
                tracing::warn!(
                    issuer.name = self.issuer,
                    error = fault as &dyn Error,
                    cause = fault.source(),
                    "the keys of an issuer cannot be fetched"
                );
                false
            }
        }
    }

    fn tell(&self, keys: &KeySet) {
        let (count, passed_over) = (keys.len(), keys.passed_over);
        if count == 0 {
            tracing::warn!(
                issuer.name = self.issuer,
                keys.passed_over = passed_over,
                "the issuer has no key that can be used, so none of its tokens counts"
            );
        } else {
            tracing::debug!(
                issuer.name = self.issuer,
                keys.count = count,
                keys.passed_over = passed_over,
                "the keys of an issuer were fetched"
            );
        }
    }

    fn age(&self, held: Option<&Held>) -> Age {
        let Some(held) = held else {
            return Age::Gone;
        };
        // A clock that was set back makes keys look younger than new, which is reason enough to look.
        match self.clock.now() - held.fetched_at {
            age if age >= KEYS_KEPT_FOR => Age::Gone,
            age if (Duration::ZERO..KEYS_FRESH_FOR).contains(&age) => Age::Fresh,
            age if age >= 2 * KEYS_FRESH_FOR && !self.is_watched() => Age::Unwatched,
            _ => Age::Old,
        }
    }

    /// Whether the issuer was asked in the last while, with whatever success.
    fn is_watched(&self) -> bool {
        is_within(self.progress().began_at, KEYS_FRESH_FOR, self.clock.now())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something happened less than so long ago.
fn is_within(then: Option<OffsetDateTime>, pause: Duration, now: OffsetDateTime) -> bool {
    then.is_some_and(|then| (Duration::ZERO..pause).contains(&(now - then)))
}

fn cause(fault: &dyn Error) -> String {
    fault
        .source()
        .map_or_else(String::new, |cause| format!(": {cause}"))
}
