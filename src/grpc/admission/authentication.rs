//! Asks who calls before anything of the message is read: strangers get no memory.
//!
//! Stands around each service of the API, and not around health and reflection, which are open to everybody. Only finds
//! the caller; what they may do is [`gate`](super::gate)'s business.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Request, Response};
use tonic::server::NamedService;
use tower::Service;

use crate::domain::reason::Reason;
use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::status;
use crate::identity::{Caller, Callers};

/// A service that knows who calls: each request that reaches it carries an `Arc<Caller>` in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated<S> {
    inner: S,
    callers: Callers,
}

impl<S> Authenticated<S> {
    /// Puts the question in front of a service.
    pub(crate) const fn new(inner: S, callers: Callers) -> Self {
        Self { inner, callers }
    }
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<Request<B>> for Authenticated<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that said it is ready goes with the call, a clone takes its place.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let callers = self.callers.clone();
        Box::pin(async move {
            match who_calls(&callers, request.headers(), request.extensions()).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(reason) => Ok(status::refused(reason).into_http()),
            }
        })
    }
}

/// The caller by its `authorization`, or by its client certificate where there is none. A bad authorization is never
/// made good by a certificate: whoever sends one means to be judged by it.
async fn who_calls(
    callers: &Callers,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Arc<Caller>, Reason> {
    let identities = extensions.get::<Arc<PeerIdentities>>();
    let Some(identities) = identities.filter(|_| !headers.contains_key(AUTHORIZATION)) else {
        return callers.authenticate(headers).await;
    };
    let caller = callers.of_certificate(identities.as_slice());
    if caller.is_none() {
        tracing::debug!(peer.identities = %identities, "a certificate is nobody's, or that of two callers");
    }
    caller.ok_or(Reason::CredentialsInvalid)
}
