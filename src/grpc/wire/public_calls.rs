//! Calls that need no caller: health checks and reflection. Their number is limited, also for each address, and so is the
//! time that they wait for a request.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Frame;
use prost::bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::capacity::{Capacity, Reservation};
use crate::domain::reason::Reason;
use crate::grpc::admission::peer::Peer;
use crate::grpc::status;
use crate::grpc::wire::limits::{
    BULK_CALL_DURATION_MAX, HEALTH_CALLS_AT_ONCE_MAX, MESSAGE_PAUSE_MAX, REFLECTION_AGE_MAX,
    REFLECTION_IDLE_MAX, REFLECTIONS_AT_ONCE_MAX,
};

#[derive(Debug, Clone)]
pub(crate) struct PublicCalls<S> {
    inner: S,
    limits: PublicLimits,
}

#[derive(Debug, Clone)]
pub(crate) struct PublicLimits {
    calls: Capacity,
    calls_of_address: usize,
    /// Longest wait for a request, and longest time in which a stream sends requests.
    idle_max: Duration,
    age_max: Duration,
}

/// The body of a request, with an end to the time that it may take.
struct TimedRequest {
    inner: Body,
    idle_max: Duration,
    ends_at: Instant,
    timer: Pin<Box<Sleep>>,
}

/// The body of a response, whose call is counted until it was sent.
struct CountedResponse {
    inner: Body,
    _counted: Reservation,
}

impl PublicLimits {
    pub(crate) fn of_health() -> Self {
        Self {
            calls: Capacity::new(HEALTH_CALLS_AT_ONCE_MAX),
            calls_of_address: HEALTH_CALLS_AT_ONCE_MAX / 2,
            idle_max: MESSAGE_PAUSE_MAX,
            age_max: BULK_CALL_DURATION_MAX,
        }
    }

    pub(crate) fn of_reflection() -> Self {
        Self {
            calls: Capacity::new(REFLECTIONS_AT_ONCE_MAX),
            calls_of_address: REFLECTIONS_AT_ONCE_MAX / 4,
            idle_max: REFLECTION_IDLE_MAX,
            age_max: REFLECTION_AGE_MAX,
        }
    }
}

impl<S: NamedService> PublicCalls<S> {
    pub(crate) const fn new(inner: S, limits: PublicLimits) -> Self {
        Self { inner, limits }
    }
}

impl<S: NamedService> NamedService for PublicCalls<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for PublicCalls<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limits = &self.limits;
        let ip = request.extensions().get::<Peer>().and_then(|peer| peer.ip);
        let address = ip.map(|ip| ip.to_string()).unwrap_or_default();
        let counted = limits.calls.reserve(&address, limits.calls_of_address, 1);
        let counted = match counted {
            Ok(counted) => counted,
            Err(reason) => {
                return Box::pin(async move { Ok(status::refused(reason).into_http()) });
            }
        };
        let request = request.map(|body| Body::new(TimedRequest::new(body, limits)));
        // The service that reported to be ready handles the call. A clone takes its place.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let response = inner.call(request).await?;
            Ok(response.map(|inner| {
                Body::new(CountedResponse {
                    inner,
                    _counted: counted,
                })
            }))
        })
    }
}

impl TimedRequest {
    fn new(inner: Body, limits: &PublicLimits) -> Self {
        Self {
            inner,
            idle_max: limits.idle_max,
            ends_at: Instant::now() + limits.age_max,
            timer: Box::pin(tokio::time::sleep(limits.idle_max)),
        }
    }
}

impl hyper::body::Body for TimedRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if Instant::now() < self.ends_at
            && let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context)
        {
            let idle_until = Instant::now() + self.idle_max;
            let until = idle_until.min(self.ends_at);
            self.timer.as_mut().reset(until);
            return Poll::Ready(frame);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Some(Err(status::refused(Reason::DeadlineExceeded))))
    }
}

impl hyper::body::Body for CountedResponse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
