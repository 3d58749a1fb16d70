//! Admission control: whether the caller may call the method, how many calls run at the same time, and how long one may take.
//!
//! [`authentication`](super::authentication) has identified the caller. [`deadline`](crate::grpc::wire::deadline) applies the
//! deadline of the caller.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status};
use tracing::{Instrument as _, Span};

use super::permission::require_scope;
use crate::capacity::{Capacity, Reservation};
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::grpc::status;
use crate::grpc::wire::limits::{
    BULK_CALL_DURATION_MAX, BULK_CALL_MEMORY_BYTES, CALL_DURATION_MAX, CALL_MEMORY_BYTES,
    CALLS_AT_ONCE_MAX, CALLS_OF_SERVICE_MAX, CALLS_OF_USER_MAX, ROWS_MEMORY_BYTES,
    STREAM_PARTS_AT_ONCE_MAX, STREAMS_AT_ONCE_MAX, STREAMS_OF_SERVICE_MAX, STREAMS_OF_USER_MAX,
    STREAMS_OPENING_MAX, WATCHES_AT_ONCE_MAX, WATCHES_OF_SERVICE_MAX, WATCHES_OF_USER_MAX,
};
use crate::identity::Caller;

/// A method of the protocol: its name, who may call it and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(in crate::grpc) name: &'static str,
    scope: Scope,
    /// Whether signed-in users may call it. Which of them may is checked by the method.
    is_for_users: bool,
    duration_max: Duration,
    /// The memory of a call beside its messages.
    pub(super) call_bytes: usize,
}

impl Method {
    /// A method for services that reads or writes one row or one page.
    pub(crate) const fn quick(name: &'static str, scope: Scope) -> Self {
        Self {
            name,
            scope,
            is_for_users: false,
            duration_max: CALL_DURATION_MAX,
            call_bytes: CALL_MEMORY_BYTES,
        }
    }

    /// A method for services that may write thousands of rows.
    pub(crate) const fn bulk(name: &'static str, scope: Scope) -> Self {
        Self {
            duration_max: BULK_CALL_DURATION_MAX,
            call_bytes: BULK_CALL_MEMORY_BYTES,
            ..Self::quick(name, scope)
        }
    }

    /// A method whose response has many rows, whatever the size of its request.
    pub(crate) const fn with_many_rows(self) -> Self {
        Self {
            call_bytes: ROWS_MEMORY_BYTES,
            ..self
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
    /// What each caller uses of the calls.
    calls_of_callers: Capacity,
    streams: Capacity,
    /// Streams and watches whose first message was not permitted yet.
    opening: Capacity,
    stream_parts: Arc<Semaphore>,
    watches: Capacity,
    closing: CancellationToken,
}

/// A stream of items or a watch. It counts as such for as long as it lives, and as a call only while it works.
#[derive(Debug)]
pub(crate) struct AdmittedStream {
    pub(crate) caller: Arc<Caller>,
    pub(crate) span: Span,
    control: AdmissionControl,
    counted: Reservation,
}

impl AdmissionControl {
    /// Streams end soon after `closing` is cancelled.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
            calls_of_callers: Capacity::new(CALLS_AT_ONCE_MAX),
            streams: Capacity::new(STREAMS_AT_ONCE_MAX),
            opening: Capacity::new(STREAMS_OPENING_MAX),
            stream_parts: Arc::new(Semaphore::new(STREAM_PARTS_AT_ONCE_MAX)),
            watches: Capacity::new(WATCHES_AT_ONCE_MAX),
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
        let caller = permitted_caller(request.extensions(), method)?;
        let share = share(&caller, CALLS_OF_SERVICE_MAX, CALLS_OF_USER_MAX);
        let counted = self.calls_of_callers.reserve(&caller.name, share, 1);
        let (Ok(_counted), Ok(_permit)) = (counted, self.calls.try_acquire()) else {
            return Err(status::refused(Reason::Overloaded));
        };
        let span = span(method, &caller);
        let work = work(caller, request.into_inner()).instrument(span);
        limited(method.duration_max, work).await.map(Response::new)
    }

    /// Admits a stream of items or a watch, which is only counted as one when its first message was permitted.
    pub(crate) fn admit<M>(
        &self,
        method: Method,
        request: &Request<M>,
    ) -> Result<AdmittedStream, Status> {
        let caller = permitted_caller(request.extensions(), method)?;
        if self.closing.is_cancelled() {
            return Err(status::refused(Reason::Overloaded));
        }
        let of_user = STREAMS_OF_USER_MAX + WATCHES_OF_USER_MAX;
        let share = share(&caller, STREAMS_OPENING_MAX / 2, of_user);
        let counted = self.opening.reserve(&caller.name, share, 1);
        Ok(AdmittedStream {
            span: span(method, &caller),
            counted: counted.map_err(status::refused)?,
            caller,
            control: self.clone(),
        })
    }
}

impl AdmittedStream {
    /// Counts a stream of items as such, after its header was permitted.
    pub(crate) fn count_as_stream(&mut self) -> Result<(), Status> {
        let share = share(&self.caller, STREAMS_OF_SERVICE_MAX, STREAMS_OF_USER_MAX);
        let counted = self.control.streams.reserve(&self.caller.name, share, 1);
        self.counted = counted.map_err(status::refused)?;
        Ok(())
    }

    /// Counts a watch as such, after its request was permitted.
    pub(crate) fn count_as_watch(&mut self) -> Result<(), Status> {
        let share = share(&self.caller, WATCHES_OF_SERVICE_MAX, WATCHES_OF_USER_MAX);
        let counted = self.control.watches.reserve(&self.caller.name, share, 1);
        self.counted = counted.map_err(status::refused)?;
        Ok(())
    }

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

/// The caller of a call, if it may call the method.
pub(super) fn permitted_caller(
    extensions: &Extensions,
    method: Method,
) -> Result<Arc<Caller>, Status> {
    let caller = extensions
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

const fn share(caller: &Caller, of_service: usize, of_user: usize) -> usize {
    match caller.as_user() {
        None => of_service,
        Some(_) => of_user,
    }
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
