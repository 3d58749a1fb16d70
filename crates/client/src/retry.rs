//! Makes a call again when the service says that this helps.
//!
//! Only for calls that are safe to repeat: reads, upserts, and `BulkCreate` with a `request_id`. It never repeats what
//! was refused for what it asks.

use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::status::{is_timeout, summary};

/// How often a call is made again: with the delays below that outlasts a restart of the server.
pub const RETRIES_MAX: u32 = 5;
/// The delay before the first repetition; it doubles each time.
const DELAY_FIRST: Duration = Duration::from_millis(500);
/// The longest delay, be it ours or the one that the service asks for.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// Makes a call until it is answered for good, at most [`RETRIES_MAX`] times more; says on stderr that it does.
pub async fn retrying<T>(
    name: &str,
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<T, Status> {
    let mut retries = Retries::default();
    loop {
        let status = match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        let Some((delay, sentence)) = retries.next(name, &status) else {
            return Err(status);
        };
        eprintln!("{sentence}");
        tokio::time::sleep(delay).await;
    }
}

/// How often something was tried again since it last got on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retries(u32);

impl Retries {
    /// How long to wait and what to say before the next try, or `None` where another one is of no use.
    pub fn next(&mut self, name: &str, status: &Status) -> Option<(Duration, String)> {
        let delay = delay_before_retry(status, self.0)?;
        self.0 += 1;
        let sentence = format!(
            "{name}: {}; retry {} of {RETRIES_MAX} in {:.1} s",
            summary(status),
            self.0,
            delay.as_secs_f64()
        );
        Some((delay, sentence))
    }

    /// As [`Retries::next`], for what goes on for ever: the delay grows no more, and the tries do not end.
    pub fn next_of_many(&mut self, name: &str, status: &Status) -> Option<(Duration, String)> {
        let delay = delay_before_retry(status, self.0.min(RETRIES_MAX - 1))?;
        self.0 = self.0.saturating_add(1);
        let delay_seconds = delay.as_secs_f64();
        let sentence = format!("{name}: {}; again in {delay_seconds:.1} s", summary(status));
        Some((delay, sentence))
    }
}

/// The break of a stream that was open as one that may be tried again: whatever this side's transport noticed, not only
/// what the service said.
#[must_use]
pub fn broken(status: Status) -> Status {
    let is_local = std::error::Error::source(&status).is_some();
    if is_local && !is_retryable(&status) {
        return Status::unavailable("the connection was lost");
    }
    status
}

/// Whether the same call may fare better later.
#[must_use]
pub fn is_retryable(status: &Status) -> bool {
    let asked = || {
        let info = status.get_details_retry_info()?;
        info.retry_delay
    };
    // A rate lets go in a moment; a quota that asks for hours is nothing to wait for.
    let is_rate_limit = || {
        status.code() == Code::ResourceExhausted && asked().is_some_and(|delay| delay <= DELAY_MAX)
    };
    matches!(status.code(), Code::Unavailable | Code::Aborted)
        || is_timeout(status)
        || is_rate_limit()
}

/// The delay after so many retries, or `None` where another one is of no use.
fn delay_before_retry(status: &Status, retries: u32) -> Option<Duration> {
    if retries == RETRIES_MAX || !is_retryable(status) {
        return None;
    }
    let asked = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let own = DELAY_FIRST.saturating_mul(1 << retries);
    // Half of the delay is chance, so that clients that failed together do not come back together.
    let chance: f64 = rand::random();
    let own = own.mul_f64(0.5 + 0.5 * chance);
    Some(asked.map_or(own, |asked| asked.max(own)).min(DELAY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn only_what_may_help_is_tried_again() {
        for (status, is_tried) in [
            (Status::unavailable(""), true),
            (Status::aborted(""), true),
            (Status::deadline_exceeded(""), true),
            (Status::cancelled("Timeout expired"), true),
            (Status::cancelled("by somebody"), false),
            (Status::invalid_argument(""), false),
            (Status::unauthenticated(""), false),
            (Status::resource_exhausted("no delay given"), false),
            (Status::internal(""), false),
        ] {
            assert_eq!(
                delay_before_retry(&status, 0).is_some(),
                is_tried,
                "{status:?}"
            );
            assert_eq!(delay_before_retry(&status, RETRIES_MAX), None, "{status:?}");
        }
    }

    #[test]
    fn the_delay_grows_and_honors_what_the_service_asks() {
        let status = Status::unavailable("");
        for (retries, least, most) in [(0, 250, 500), (1, 500, 1000), (4, 4000, 8000)] {
            let delay = delay_before_retry(&status, retries).unwrap().as_millis();
            assert!((least..=most).contains(&delay), "{retries}: {delay}");
        }
        let asks = |seconds| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            let status = Status::with_error_details(Code::ResourceExhausted, "", details);
            delay_before_retry(&status, 0)
        };
        assert_eq!(asks(7), Some(Duration::from_secs(7)));
        assert_eq!(asks(3600), None, "a quota of the day");
    }

    #[tokio::test]
    async fn a_call_is_made_until_it_is_answered() {
        let mut calls = 0;
        let answer = retrying("Test", async || {
            calls += 1;
            if calls < 2 {
                Err(Status::aborted("busy"))
            } else {
                Ok(Response::new(calls))
            }
        })
        .await;
        assert_eq!(answer.unwrap(), 2);
    }
}
