//! Admission control: whether the caller may call the method, how many calls run at the same time, and how long one may take.
//!
//! [`authentication`](super::authentication) has identified the caller. [`deadline`](crate::grpc::wire::deadline) applies the
//! deadline of the caller.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, Span};

use super::permission::require_scope;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::grpc::status;
use crate::grpc::wire::limits::{
    BULK_CALL_DURATION_MAX, CALL_DURATION_MAX, CALLS_AT_ONCE_MAX, STREAM_PARTS_AT_ONCE_MAX,
    STREAMS_AT_ONCE_MAX, WATCHES_AT_ONCE_MAX,
};
use crate::identity::Caller;

/// A method of the protocol: its name, who may call it and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    name: &'static str,
    scope: Scope,
    /// Whether signed-in users may call it. Which of them may is checked by the method.
    is_for_users: bool,
    duration_max: Duration,
}

impl Method {
    /// A method for services that reads or writes one row or one page.
    pub(crate) const fn quick(name: &'static str, scope: Scope) -> Self {
        Self {
            name,
            scope,
            is_for_users: false,
            duration_max: CALL_DURATION_MAX,
        }
    }

    /// A method for services that may write thousands of rows.
    pub(crate) const fn bulk(name: &'static str, scope: Scope) -> Self {
        Self {
            duration_max: BULK_CALL_DURATION_MAX,
            ..Self::quick(name, scope)
        }
    }

    pub(crate) const fn for_users(self) -> Self {
        Self {
            is_for_users: true,
            ..self
        }
    }
}

/// The admission control of a server, shared by its services.
#[derive(Debug, Clone)]
pub(crate) struct AdmissionControl {
    calls: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    stream_parts: Arc<Semaphore>,
    pub(crate) watches: Arc<Semaphore>,
    closing: CancellationToken,
}

/// A stream that was admitted. It counts as a stream for as long as it lives, and as a call only while it works.
#[derive(Debug)]
pub(crate) struct AdmittedStream {
    pub(crate) caller: Arc<Caller>,
    pub(crate) span: Span,
    control: AdmissionControl,
    _permit: OwnedSemaphorePermit,
}

impl AdmissionControl {
    /// Streams end soon after `closing` is cancelled.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_AT_ONCE_MAX)),
            stream_parts: Arc::new(Semaphore::new(STREAM_PARTS_AT_ONCE_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_AT_ONCE_MAX)),
            closing,
        }
    }

    /// Runs a call, if the caller may call the method and there is capacity.
    pub(crate) async fn call<M, T, W>(
        &self,
        method: Method,
        request: Request<M>,
        work: impl FnOnce(Arc<Caller>, M) -> W,
    ) -> Result<Response<T>, Status>
    where
        W: Future<Output = Result<T, Status>>,
    {
        let caller = permitted_caller(&request, method)?;
        let Ok(_permit) = self.calls.try_acquire() else {
            return Err(status::refused(Reason::Overloaded));
        };
        let span = span(method, &caller);
        let work = work(caller, request.into_inner()).instrument(span);
        limited(method.duration_max, work).await.map(Response::new)
    }

    /// Admits a stream, if the caller may call the method and `capacity` has room.
    pub(crate) fn admit<M>(
        &self,
        capacity: &Arc<Semaphore>,
        method: Method,
        request: &Request<M>,
    ) -> Result<AdmittedStream, Status> {
        let caller = permitted_caller(request, method)?;
        if self.closing.is_cancelled() {
            return Err(status::refused(Reason::Overloaded));
        }
        let permit = Arc::clone(capacity).try_acquire_owned();
        Ok(AdmittedStream {
            span: span(method, &caller),
            caller,
            control: self.clone(),
            _permit: permit.map_err(|_| status::refused(Reason::Overloaded))?,
        })
    }
}

impl AdmittedStream {
    /// Runs a part of the stream with the limits of a bulk call. Unlike a call, it waits for capacity.
    pub(crate) async fn run_part<T>(
        &self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let permits = async {
            let part = self.control.stream_parts.acquire().await;
            (part, self.control.calls.acquire().await)
        };
        let Ok((Ok(_part), Ok(_call))) =
            tokio::time::timeout(BULK_CALL_DURATION_MAX, permits).await
        else {
            return Err(status::refused(Reason::Overloaded));
        };
        limited(BULK_CALL_DURATION_MAX, work).await
    }

    /// Runs a short part of the stream, which needs no capacity.
    pub(crate) async fn run_quick_part<T>(
        &self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        limited(CALL_DURATION_MAX, work).await
    }

    /// Cancelled when the stream has to end because the process stops.
    pub(crate) const fn closing(&self) -> &CancellationToken {
        &self.control.closing
    }
}

fn permitted_caller<M>(request: &Request<M>, method: Method) -> Result<Arc<Caller>, Status> {
    let caller = request
        .extensions()
        .get::<Arc<Caller>>()
        .cloned()
        .ok_or_else(|| status::refused(Reason::CredentialsInvalid))?;
    match (caller.as_user(), method.is_for_users) {
        (None, _) => require_scope(&caller, method.scope)?,
        (Some(_), true) => {}
        (Some(_), false) => return Err(status::refused(Reason::MethodDenied)),
    }
    Ok(caller)
}

fn span(method: Method, caller: &Caller) -> Span {
    tracing::info_span!("call", rpc.method = method.name, caller.name = caller.label)
}

async fn limited<T>(
    duration_max: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(duration_max, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        // The panic hook logs it. Without this, the caller would see a call that was cancelled.
        Ok(Err(_)) => Err(status::refused(Reason::Internal)),
        Err(_) => Err(status::refused(Reason::DeadlineExceeded)),
    }
}
