//! Calls that need no caller: health checks and reflection. Streams are limited in number, also for each network, and in
//! age. Each call is limited in the time that it waits for a request and for the client to read.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::Frame;
use prost::bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::capacity::{Capacity, Reservation};
use crate::connections::Network;
use crate::domain::reason::Reason;
use crate::grpc::admission::peer::Peer;
use crate::grpc::status;
use crate::grpc::wire::call_task;
use crate::grpc::wire::limits::{
    BULK_CALL_DURATION_MAX, HEALTH_WATCH_AGE_MAX, HEALTH_WATCHES_AT_ONCE_MAX, MESSAGE_PAUSE_MAX,
    REFLECTION_AGE_MAX, REFLECTION_IDLE_MAX, REFLECTIONS_AT_ONCE_MAX,
};

/// The method of health whose calls are streams. All methods of reflection are.
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

#[derive(Debug, Clone)]
pub(crate) struct PublicCalls<S> {
    inner: S,
    limits: PublicLimits,
}

#[derive(Debug, Clone)]
pub(crate) struct PublicLimits {
    streams: Capacity,
    streams_of_network: usize,
    /// The path of the only method that has streams, or `None` if all calls are streams.
    streaming: Option<&'static str>,
    /// Longest wait for a request, and longest time in which a call sends requests.
    idle_max: Duration,
    requests_age_max: Duration,
    /// Longest call, and why a longer one ends.
    age_max: Duration,
    ends_with: Reason,
}

/// The body of a request, with an end to the time that it may take.
struct TimedRequest {
    inner: Body,
    idle_max: Duration,
    ends_at: Instant,
    timer: Pin<Box<Sleep>>,
}

/// The body of a response, with an end to its age. Its stream is counted until it was sent. A client that does not read it
/// in time ends its call.
struct TimedResponse {
    inner: Body,
    ends_with: Reason,
    has_ended: bool,
    timer: Pin<Box<Sleep>>,
    _counted: Option<Reservation>,
}

impl PublicLimits {
    pub(crate) fn of_health() -> Self {
        Self {
            streams: Capacity::new(HEALTH_WATCHES_AT_ONCE_MAX),
            streams_of_network: HEALTH_WATCHES_AT_ONCE_MAX / 4,
            streaming: Some(HEALTH_WATCH),
            idle_max: MESSAGE_PAUSE_MAX,
            requests_age_max: BULK_CALL_DURATION_MAX,
            age_max: HEALTH_WATCH_AGE_MAX,
            ends_with: Reason::Overloaded,
        }
    }

    pub(crate) fn of_reflection() -> Self {
        Self {
            streams: Capacity::new(REFLECTIONS_AT_ONCE_MAX),
            streams_of_network: REFLECTIONS_AT_ONCE_MAX / 4,
            streaming: None,
            idle_max: REFLECTION_IDLE_MAX,
            requests_age_max: REFLECTION_AGE_MAX,
            age_max: REFLECTION_AGE_MAX,
            ends_with: Reason::DeadlineExceeded,
        }
    }

    /// Counts a call if it is a stream.
    fn count(&self, request: &Request<Body>) -> Result<Option<Reservation>, Reason> {
        if self
            .streaming
            .is_some_and(|path| path != request.uri().path())
        {
            return Ok(None);
        }
        let ip = request.extensions().get::<Peer>().and_then(|peer| peer.ip);
        let network = ip.map(|ip| Network::of(ip).to_string()).unwrap_or_default();
        let counted = self.streams.reserve(&network, self.streams_of_network, 1)?;
        Ok(Some(counted))
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
        let counted = match self.limits.count(&request) {
            Ok(counted) => counted,
            Err(reason) => {
                return Box::pin(async move { Ok(status::refused(reason).into_http()) });
            }
        };
        let limits = &self.limits;
        let request = request.map(|body| Body::new(TimedRequest::new(body, limits)));
        let (timer, ends_with) = (Box::pin(sleep(limits.age_max)), limits.ends_with);
        // The service that reported to be ready handles the call. A clone takes its place.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let response = inner.call(request).await?;
            // A client that never lets the server send does not read, either.
            call_task::begin_sending();
            Ok(response.map(|inner| {
                Body::new(TimedResponse {
                    inner,
                    ends_with,
                    has_ended: false,
                    timer,
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
            ends_at: Instant::now() + limits.requests_age_max,
            timer: Box::pin(sleep(limits.idle_max)),
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

impl hyper::body::Body for TimedResponse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // The next frame is only wanted when the previous one was sent, or fits into the windows of the connection.
        call_task::end_sending();
        if self.has_ended {
            return Poll::Ready(None);
        }
        // The inner body may wait for the client for ever, and its own timers are in the body of the request.
        if self.timer.as_mut().poll(context).is_ready() {
            self.has_ended = true;
            let mut trailers = HeaderMap::new();
            let added = status::refused(self.ends_with).add_header(&mut trailers);
            return Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && frame.is_data()
        {
            call_task::begin_sending();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use tower::service_fn;

    use super::*;

    const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

    /// A response that waits for ever.
    struct SilentBody;

    impl hyper::body::Body for SilentBody {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    async fn call(limits: &PublicLimits, path: &str, ip: &str) -> Response<Body> {
        let inner = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::new(SilentBody)))
        });
        let limits = limits.clone();
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        request.extensions_mut().insert(Peer {
            ip: Some(ip.parse().unwrap()),
            certificate: None,
        });
        let response = PublicCalls { inner, limits }.call(request).await;
        response.unwrap()
    }

    fn is_refused(response: &Response<Body>) -> bool {
        response.headers().contains_key("grpc-status")
    }

    #[tokio::test]
    async fn watches_of_health_are_limited_for_each_network_and_checks_are_not() {
        let limits = PublicLimits::of_health();
        let mut watches = Vec::new();
        for number in 0..HEALTH_WATCHES_AT_ONCE_MAX / 4 {
            let ip = format!("2001:db8::{number:x}");
            watches.push(call(&limits, HEALTH_WATCH, &ip).await);
        }
        assert!(!watches.iter().any(is_refused));
        assert!(is_refused(
            &call(&limits, HEALTH_WATCH, "2001:db8::ffff").await
        ));
        assert!(!is_refused(
            &call(&limits, HEALTH_WATCH, "2001:db8:0:1::").await
        ));
        assert!(!is_refused(
            &call(&limits, HEALTH_CHECK, "2001:db8::1").await
        ));
        drop(watches);
        assert!(!is_refused(
            &call(&limits, HEALTH_WATCH, "2001:db8::1").await
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_age_whatever_its_service_waits_for() {
        for (limits, age_max, code) in [
            (PublicLimits::of_health(), HEALTH_WATCH_AGE_MAX, "14"),
            (PublicLimits::of_reflection(), REFLECTION_AGE_MAX, "4"),
        ] {
            let begin = Instant::now();
            let mut body = call(&limits, HEALTH_WATCH, "10.0.0.1").await.into_body();
            let mut frames = Vec::new();
            while let Some(frame) =
                poll_fn(|context| hyper::body::Body::poll_frame(Pin::new(&mut body), context)).await
            {
                frames.push(frame.unwrap().into_trailers().unwrap());
            }
            assert!(begin.elapsed() >= age_max);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0]["grpc-status"], code);
        }
    }
}
