//! Identifies the caller before the message is read, so that unknown callers use no memory.
//!
//! Wraps each service of the API. Health and reflection need no caller. What the caller may do is decided by
//! [`control`](super::control).

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Request, Response};
use tonic::server::NamedService;
use tower::Service;

use crate::connections::TrackedConnection;
use crate::domain::reason::Reason;
use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::status;
use crate::identity::{Caller, Callers, Principal};

/// A service whose requests carry an `Arc<Caller>` in their extensions.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated<S> {
    inner: S,
    callers: Callers,
}

impl<S> Authenticated<S> {
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
        // The service that reported to be ready handles the call. A clone takes its place.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let callers = self.callers.clone();
        Box::pin(async move {
            match caller_of(&callers, request.headers(), request.extensions()).await {
                Ok(caller) if !has_place(request.extensions(), &caller) => {
                    Ok(status::refused(Reason::Overloaded).into_http())
                }
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(reason) => Ok(status::refused(reason).into_http()),
            }
        })
    }
}

/// Marks the connection as authenticated. Returns `false` if too many others are, all with calls in progress.
fn has_place(extensions: &Extensions, caller: &Caller) -> bool {
    let connection = extensions.get::<Arc<TrackedConnection>>();
    connection.is_none_or(|connection| match caller.principal {
        Principal::Service => connection.authenticate(&caller.name),
        Principal::User(_) => connection.authenticate_user(&caller.name),
    })
}

/// The caller by the `authorization` header, or by the client certificate if there is no such header. A certificate does not
/// replace an invalid header.
async fn caller_of(
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
        tracing::debug!(peer.identities = %identities, "no caller, or more than one, has this certificate");
    }
    caller.ok_or(Reason::CredentialsInvalid)
}
