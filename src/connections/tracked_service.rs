//! Counts the open requests of a connection: each from its head to the end of its response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tower::Service;

use super::tracked_connection::{OpenRequest, TrackedConnection};

/// The service of one connection. Adds the `Arc<TrackedConnection>` to the extensions of each request.
#[derive(Clone, Debug)]
pub(crate) struct TrackedService<S> {
    inner: S,
    connection: Arc<TrackedConnection>,
}

/// The body of a response, whose request is open until it is dropped.
#[derive(Debug)]
pub(crate) struct TrackedBody<B> {
    body: B,
    _request: OpenRequest,
}

impl<S> TrackedService<S> {
    pub(crate) const fn new(inner: S, connection: Arc<TrackedConnection>) -> Self {
        Self { inner, connection }
    }
}

impl<S, B, R> Service<Request<B>> for TrackedService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<TrackedBody<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The request counts from here on, and not from the first poll of the block below.
        let open = OpenRequest::begin(Arc::clone(&self.connection));
        request
            .extensions_mut()
            .insert(Arc::clone(&self.connection));
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(response.map(|body| TrackedBody {
                body,
                _request: open,
            }))
        })
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
