//! Refuses every call until the process has verified the schema and the keys of its database.
//!
//! Wraps each service of the API. With a wrong keys file, a process would return links that no other process accepts.

use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::server::NamedService;
use tower::Service;

use crate::domain::reason::Reason;
use crate::grpc::status;
use crate::service::Readiness;

/// A service that gets no call before the process is ready.
#[derive(Debug, Clone)]
pub(crate) struct WhenReady<S> {
    inner: S,
    readiness: Readiness,
}

impl<S> WhenReady<S> {
    pub(crate) fn new(inner: S, readiness: &Readiness) -> Self {
        Self {
            inner,
            readiness: readiness.clone(),
        }
    }
}

impl<S: NamedService> NamedService for WhenReady<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<Request<B>> for WhenReady<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.readiness.is_ready() {
            return Either::Left(self.inner.call(request));
        }
        let refused = status::refused(Reason::Overloaded).into_http();
        Either::Right(ready(Ok(refused)))
    }
}
