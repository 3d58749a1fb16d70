//! Decides about a call from its path and its caller, before its message is read: whether the caller may call the method,
//! and whether there is memory for the message.

use std::mem;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Extensions, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::control::{Method, permitted_caller};
use crate::capacity::{Capacity, Reservation};
use crate::grpc::memory::message_shapes::MESSAGE_SHAPES;
use crate::grpc::memory::metered_request::{MeteredRequest, RequestMemory};
use crate::grpc::memory::metered_response::MeteredResponse;
use crate::grpc::status;
use crate::grpc::wire::limits::{CALL_MEMORY_BYTES, SERVICE_MEMORY_PERCENT, USER_MEMORY_PERCENT};

/// A service whose calls were permitted. [`authentication`](super::authentication) has identified their callers.
#[derive(Debug, Clone)]
pub(crate) struct PermittedCalls<S> {
    inner: S,
    methods: &'static [Method],
    memory: Capacity,
}

impl<S: NamedService> PermittedCalls<S> {
    pub(crate) const fn new(inner: S, methods: &'static [Method], memory: Capacity) -> Self {
        Self {
            inner,
            methods,
            memory,
        }
    }
}

impl<S> PermittedCalls<S> {
    /// The memory of the requests and of the responses of a call, if the caller may make it.
    fn admit(
        &self,
        method: Method,
        extensions: &Extensions,
    ) -> Result<(RequestMemory, Reservation), Status> {
        let caller = permitted_caller(extensions, method)?;
        let share = match caller.as_user() {
            Some(_) => USER_MEMORY_PERCENT,
            None => SERVICE_MEMORY_PERCENT,
        };
        let share = self.memory.total() / 100 * share;
        let reserve = |bytes| {
            let reservation = self.memory.reserve(&caller.name, share, bytes);
            reservation.map_err(status::refused)
        };
        // Only what every call needs: more is reserved when its message begins.
        let received = reserve(CALL_MEMORY_BYTES)?;
        Ok((RequestMemory::new(received), reserve(0)?))
    }
}

impl<S: NamedService> NamedService for PermittedCalls<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for PermittedCalls<S>
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
        let path = request.uri().path();
        let method = path.rsplit('/').next().and_then(|name| {
            let mut methods = self.methods.iter();
            methods.find(|method| method.name == name)
        });
        let (Some(method), Some(shape)) = (method, MESSAGE_SHAPES.of_request(path)) else {
            // The service answers that there is no such method.
            return Box::pin(self.inner.call(request));
        };
        let (received, sent) = match self.admit(*method, request.extensions()) {
            Ok(reservations) => reservations,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        let (memory, call_bytes) = (received.clone(), method.call_bytes);
        let request =
            request.map(|body| Body::new(MeteredRequest::new(body, shape, memory, call_bytes)));
        // The service that reported to be ready handles the call. A clone takes its place.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let response = inner.call(request).await?;
            Ok(response.map(|body| Body::new(MeteredResponse::new(body, received, sent))))
        })
    }
}
