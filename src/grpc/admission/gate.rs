//! What every call passes: whether its caller may, how many at once, and how long its work may take.
//!
//! Who calls was found by [`authentication`](super::authentication), and what the caller gives the call is
//! [`deadline`](super::deadline)'s business.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, Span};

use crate::domain::access::Access;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::grpc::convert::fields;
use crate::grpc::convert::fields::Field;
use crate::grpc::status;
use crate::grpc::wire::limits::{
    BULK_CALL_DURATION_MAX, CALL_DURATION_MAX, CALLS_AT_ONCE_MAX, STREAM_PARTS_AT_ONCE_MAX,
    STREAMS_AT_ONCE_MAX, WATCHES_AT_ONCE_MAX,
};
use crate::identity::Caller;

/// How long a method may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// One row or one page.
    Quick,
    /// Thousands of rows.
    Bulk,
}

impl Pace {
    const fn duration_max(self) -> Duration {
        match self {
            Self::Quick => CALL_DURATION_MAX,
            Self::Bulk => BULK_CALL_DURATION_MAX,
        }
    }
}

/// Who may call a method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permit {
    scope: Scope,
    is_for_users: bool,
}

impl Permit {
    /// Services with a scope, and users. Which users is for the method to ask.
    pub(crate) const fn with_users(scope: Scope) -> Self {
        Self {
            scope,
            is_for_users: true,
        }
    }
}

/// Services with this scope, and no users.
impl From<Scope> for Permit {
    fn from(scope: Scope) -> Self {
        Self {
            scope,
            is_for_users: false,
        }
    }
}

/// The gate, shared by all services of the server.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    closing: CancellationToken,
}

/// A stream that was let through. It holds a place among its kind for as long as it lives, and one of those of calls only
/// while it works.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Who calls.
    pub(crate) caller: Arc<Caller>,
    /// What its work is logged under.
    pub(crate) span: Span,
    gate: Gate,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate with all its places free. Streams end soon after `closing` is cancelled.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self {
            places: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_AT_ONCE_MAX)),
            parts: Arc::new(Semaphore::new(STREAM_PARTS_AT_ONCE_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_AT_ONCE_MAX)),
            closing,
        }
    }

    /// Lets a call through, or refuses it: first for who calls, which was asked before its message was read, then for
    /// what they may do, then for want of room.
    pub(crate) async fn pass<M, T, W>(
        &self,
        method: &'static str,
        permit: impl Into<Permit>,
        pace: Pace,
        request: Request<M>,
        work: impl FnOnce(Arc<Caller>, M) -> W,
    ) -> Result<Response<T>, Status>
    where
        W: Future<Output = Result<T, Status>>,
    {
        let caller = permitted(&request, permit.into())?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(status::refused(Reason::Overloaded));
        };
        let span = span(method, &caller);
        let work = work(caller, request.into_inner()).instrument(span);
        in_time(pace, work).await.map(Response::new)
    }

    /// Lets a stream of items through, or refuses it as a call is.
    pub(crate) fn admit_stream<M>(
        &self,
        method: &'static str,
        permit: Permit,
        request: &Request<M>,
    ) -> Result<Admitted, Status> {
        self.admit(&self.streams, method, permit, request)
    }

    /// Lets a watch through, or refuses it as a call is.
    pub(crate) fn admit_watch<M>(
        &self,
        method: &'static str,
        permit: Permit,
        request: &Request<M>,
    ) -> Result<Admitted, Status> {
        self.admit(&self.watches, method, permit, request)
    }

    fn admit<M>(
        &self,
        places: &Arc<Semaphore>,
        method: &'static str,
        permit: Permit,
        request: &Request<M>,
    ) -> Result<Admitted, Status> {
        let caller = permitted(request, permit)?;
        if self.closing.is_cancelled() {
            return Err(status::refused(Reason::Overloaded));
        }
        let place = Arc::clone(places).try_acquire_owned();
        Ok(Admitted {
            span: span(method, &caller),
            caller,
            gate: self.clone(),
            _place: place.map_err(|_| status::refused(Reason::Overloaded))?,
        })
    }
}

impl Admitted {
    /// Does a part of the stream's work, as a bulk call is done; but it waits for a place among the calls.
    pub(crate) async fn part<T>(
        &self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let places = async {
            let part = self.gate.parts.acquire().await;
            (part, self.gate.places.acquire().await)
        };
        let Ok((Ok(_part), Ok(_place))) =
            tokio::time::timeout(Pace::Bulk.duration_max(), places).await
        else {
            return Err(status::refused(Reason::Overloaded));
        };
        in_time(Pace::Bulk, work).await
    }

    /// Does a short part of the stream's work, for which no place is kept.
    pub(crate) async fn quick_part<T>(
        &self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        in_time(Pace::Quick, work).await
    }

    /// Cancelled when the stream has to end, because the process does.
    pub(crate) const fn closing(&self) -> &CancellationToken {
        &self.gate.closing
    }
}

/// Who calls, if they may.
fn permitted<M>(request: &Request<M>, permit: Permit) -> Result<Arc<Caller>, Status> {
    let caller = request
        .extensions()
        .get::<Arc<Caller>>()
        .cloned()
        .ok_or_else(|| status::refused(Reason::CredentialsInvalid))?;
    require_permit(&caller, permit)?;
    Ok(caller)
}

fn span(method: &'static str, caller: &Caller) -> Span {
    tracing::info_span!("call", rpc.method = method, caller.name = caller.label)
}

async fn in_time<T>(
    pace: Pace,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(pace.duration_max(), AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        // Told to the log by the panic hook; without this the caller would see a call that was cancelled.
        Ok(Err(_)) => Err(status::refused(Reason::Internal)),
        Err(_) => Err(status::refused(Reason::DeadlineExceeded)),
    }
}

/// Refuses a user where there is nothing for users, and a service without the scope.
fn require_permit(caller: &Caller, permit: Permit) -> Result<(), Status> {
    match (caller.as_user(), permit.is_for_users) {
        (None, _) => require_scope(caller, permit.scope),
        (Some(_), true) => Ok(()),
        (Some(_), false) => Err(status::refused(Reason::MethodDenied)),
    }
}

/// Refuses a caller without a scope; a user holds none.
pub(crate) fn require_scope(caller: &Caller, scope: Scope) -> Result<(), Status> {
    if caller.holds(scope) {
        Ok(())
    } else {
        Err(status::refused_with(
            Reason::ScopeMissing,
            "scope",
            scope.as_str(),
        ))
    }
}

/// Refuses a caller that is limited to some organizations, where what is changed belongs to none: users, bounces.
pub(crate) fn require_every_organization(caller: &Caller) -> Result<(), Status> {
    match caller.access {
        Access::Every => Ok(()),
        Access::Only(_) => Err(status::refused(Reason::OrganizationDenied)),
    }
}

/// The organization a call is for, or what is wrong with its name.
///
/// Permission comes before existence and before what is wrong with other fields: a foreign one is refused as an unknown
/// one is.
pub(crate) fn organization(caller: &Caller, input: &str) -> Result<Field<OrganizationId>, Status> {
    let id = fields::organization_id(input);
    match &id {
        Ok(id) if !caller.access.allows(id.as_str()) => {
            Err(status::refused(Reason::OrganizationDenied))
        }
        _ => Ok(id),
    }
}

/// The organization a call is for; `None` for all of them, which only a caller that is not limited may mean.
pub(crate) fn optional_organization(
    caller: &Caller,
    input: &str,
) -> Result<Field<Option<OrganizationId>>, Status> {
    if input.is_empty() {
        return match caller.access {
            Access::Every => Ok(Ok(None)),
            Access::Only(_) => Err(status::refused(Reason::OrganizationDenied)),
        };
    }
    Ok(organization(caller, input)?.map(Some))
}
