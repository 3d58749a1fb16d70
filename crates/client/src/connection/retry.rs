//! Retries calls with exponential backoff when the status says that a retry may succeed.
//!
//! Only calls that are safe to repeat may be retried: reads, upserts, and calls with a `request_id`.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::connection::status_text::{is_timeout, summary};

/// Most retries of a call. With the delays below they outlast a restart of the server.
pub(crate) const RETRIES_MAX: u32 = 5;
/// Delay before the first retry. It doubles with each retry.
const DELAY_FIRST: Duration = Duration::from_millis(500);
/// Longest delay, and also the longest `retry_delay` of the server that the client waits for.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// Runs a call until it succeeds or a retry is of no use. Reports each retry on stderr.
pub(crate) async fn with_retries<T>(
    method: &str,
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<T, Status> {
    let mut retries = RetryCounter::default();
    loop {
        let status = match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        let print = |message: &str| eprintln!("{message}");
        retries.wait(method, status, print).await?;
    }
}

/// Counts the retries since the last success.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RetryCounter {
    count: u32,
    /// For a stream that was open and runs until it is interrupted.
    pub(crate) is_unlimited: bool,
}

impl RetryCounter {
    /// Prints a message about the next retry and waits for it. Returns the status if a retry is of no use.
    pub(crate) async fn wait(
        &mut self,
        method: &str,
        status: Status,
        print: impl FnOnce(&str),
    ) -> Result<(), Status> {
        let (status, count, number) = if self.is_unlimited {
            let count = self.count.min(RETRIES_MAX - 1);
            (as_lost_connection(status), count, String::new())
        } else {
            let number = format!(" {} of {RETRIES_MAX}", self.count + 1);
            (status, self.count, number)
        };
        let Some(delay) = delay_before_retry(&status, count) else {
            return Err(status);
        };
        self.count = self.count.saturating_add(1);
        let (summary, seconds) = (summary(&status), delay.as_secs_f64());
        print(&format!(
            "{method}: {summary}; retry{number} in {seconds:.1} s"
        ));
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Makes the status of an open stream retryable if the local transport ended the stream, whatever its code is.
pub(crate) fn as_lost_connection(status: Status) -> Status {
    if status.source().is_some() && !is_retryable(&status) {
        return Status::unavailable("the connection was lost");
    }
    status
}

pub(crate) fn is_retryable(status: &Status) -> bool {
    // A rate limit clears within seconds. A quota asks for hours, which the client does not wait.
    let is_rate_limit = || {
        status.code() == Code::ResourceExhausted
            && server_delay(status).is_some_and(|delay| delay <= DELAY_MAX)
    };
    matches!(status.code(), Code::Unavailable | Code::Aborted)
        || is_timeout(status)
        || is_rate_limit()
}

fn server_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn delay_before_retry(status: &Status, retries: u32) -> Option<Duration> {
    if retries == RETRIES_MAX || !is_retryable(status) {
        return None;
    }
    // Half of the delay is random, so that clients that failed together do not retry together.
    let jitter = 0.5 + 0.5 * rand::random::<f64>();
    let backoff = DELAY_FIRST.saturating_mul(1 << retries).mul_f64(jitter);
    let delay = server_delay(status).map_or(backoff, |delay| delay.max(backoff));
    Some(delay.min(DELAY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn only_retryable_statuses_are_retried() {
        for (status, is_retried) in [
            (Status::unavailable(""), true),
            (Status::aborted(""), true),
            (Status::deadline_exceeded(""), true),
            (Status::cancelled("Timeout expired"), true),
            (Status::cancelled("by the server"), false),
            (Status::invalid_argument(""), false),
            (Status::unauthenticated(""), false),
            (Status::resource_exhausted("no delay given"), false),
            (Status::internal(""), false),
        ] {
            assert_eq!(
                delay_before_retry(&status, 0).is_some(),
                is_retried,
                "{status:?}"
            );
            assert_eq!(delay_before_retry(&status, RETRIES_MAX), None, "{status:?}");
        }
    }

    #[test]
    fn the_delay_grows_and_respects_the_delay_of_the_server() {
        let status = Status::unavailable("");
        for (retries, least, most) in [(0, 250, 500), (1, 500, 1000), (4, 4000, 8000)] {
            let delay = delay_before_retry(&status, retries).unwrap().as_millis();
            assert!((least..=most).contains(&delay), "{retries}: {delay}");
        }
        let delay_for = |seconds| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            let status = Status::with_error_details(Code::ResourceExhausted, "", details);
            delay_before_retry(&status, 0)
        };
        assert_eq!(delay_for(7), Some(Duration::from_secs(7)));
        assert_eq!(delay_for(3600), None, "a daily quota");
    }

    #[tokio::test]
    async fn a_call_is_repeated_until_it_succeeds() {
        let mut calls = 0;
        let answer = with_retries("Test", async || {
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
