//! The deadline of a call. It starts at the first byte of the call, so that it includes the time to receive the
//! message.
//!
//! tonic ends a call at its deadline with CANCELLED, which meshes retry. So this layer ends the call a moment earlier
//! with `DEADLINE_EXCEEDED`.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use tonic::metadata::MetadataMap;
use tower::{Layer, Service};

use crate::domain::reason::Reason;
use crate::grpc::status;
use crate::grpc::wire::limits::{BULK_CALL_DURATION_MAX, DEADLINE_MARGIN};

#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadlineLayer;

/// Applies the deadline to a call, and to a stream until its response begins. After that [`of_stream`] applies.
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
        let timeout = timeout(request.headers().get("grpc-timeout"))
            .unwrap_or(BULK_CALL_DURATION_MAX)
            .min(BULK_CALL_DURATION_MAX);
        // The timer starts here and not in the block below, which runs later.
        let response = tokio::time::timeout(timeout, self.inner.call(request));
        Box::pin(async move {
            response
                .await
                .unwrap_or_else(|_| Ok(status::refused(Reason::DeadlineExceeded).into_http()))
        })
    }
}

/// Completes at the deadline of a stream, or never if the caller set none.
pub(crate) fn of_stream(metadata: &MetadataMap) -> impl Future<Output = ()> + Send + use<> {
    let timer = timeout(metadata.as_ref().get("grpc-timeout")).map(tokio::time::sleep);
    async move {
        match timer {
            Some(timer) => timer.await,
            None => std::future::pending().await,
        }
    }
}

fn timeout(header: Option<&HeaderValue>) -> Option<Duration> {
    let timeout = parse_timeout(header?.to_str().ok()?)?;
    Some(timeout.saturating_sub(DEADLINE_MARGIN))
}

/// Parses at most eight digits and a unit, as gRPC over HTTP/2 defines a timeout.
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
    fn timeouts_are_parsed_as_the_protocol_defines_them() {
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
