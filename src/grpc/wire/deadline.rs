//! The caller's deadline, counted from the first byte of a call, so that a message which is slow to come counts too.
//!
//! tonic ends a call at its caller's deadline with CANCELLED, which meshes take for an invitation to retry. So this ends
//! it a moment before.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::metadata::MetadataMap;
use tower::{Layer, Service};

use crate::domain::reason::Reason;
use crate::grpc::status;
use crate::grpc::wire::limits::{BULK_CALL_DURATION_MAX, DEADLINE_MARGIN};

/// Puts a deadline around every call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadlineLayer;

/// A service with a deadline around every call. Streams are bound until they begin, no longer: after that
/// [`of_stream`] is theirs.
#[derive(Debug, Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let time_left = time_left(request.headers());
        // Made here and not in the block below, which begins to run only later.
        let answer = tokio::time::timeout(time_left, self.inner.call(request));
        Box::pin(async move {
            answer
                .await
                .unwrap_or_else(|_| Ok(status::refused(Reason::DeadlineExceeded).into_http()))
        })
    }
}

/// What the caller gives, and never more than the slowest method gets.
fn time_left(headers: &HeaderMap) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok());
    asked
        .and_then(asked_for)
        .map_or(BULK_CALL_DURATION_MAX, |asked| {
            asked.min(BULK_CALL_DURATION_MAX)
        })
}

/// Ends when the time runs out that the caller of a stream gives it: never, if it gives none.
pub(crate) fn of_stream(metadata: &MetadataMap) -> impl Future<Output = ()> + Send + use<> {
    let asked = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok());
    let timer = asked.and_then(asked_for).map(tokio::time::sleep);
    async move {
        match timer {
            Some(timer) => timer.await,
            None => std::future::pending().await,
        }
    }
}

fn asked_for(timeout: &str) -> Option<Duration> {
    Some(parse_timeout(timeout)?.saturating_sub(DEADLINE_MARGIN))
}

/// At most eight digits and a unit, as the gRPC protocol over HTTP/2 spells a timeout.
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let is_number =
        (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_spells_them() {
        assert_eq!(parse_timeout("500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_hours(99_999_999))
        );
        for bad in ["", "S", "5", "123456789S", "-1S", "1é", "5 S"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}
