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
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::fields::Field;
use super::limits::{
    BULK_CALL_DURATION_MAX, CALL_DURATION_MAX, CALLS_AT_ONCE_MAX, WATCHES_AT_ONCE_MAX,
};
use super::{fields, status};
use crate::domain::access::Access;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::identity::Caller;

/// How long a method may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
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
pub(super) struct Permit {
    scope: Scope,
    is_for_users: bool,
}

impl Permit {
    /// Services with a scope, and users. Which users is for the method to ask.
    pub(super) const fn with_users(scope: Scope) -> Self {
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
pub(super) struct Gate {
    places: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

impl Gate {
    /// A gate with all its places free.
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_AT_ONCE_MAX)),
        }
    }

    /// Lets a call through, or refuses it: first for who calls, which was asked before its message was read, then for
    /// what they may do, then for want of room.
    pub(super) async fn pass<M, T, W>(
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
        let span = tracing::info_span!("call", rpc.method = method, caller.name = caller.label);
        let work = work(caller, request.into_inner()).instrument(span);
        match tokio::time::timeout(pace.duration_max(), AssertUnwindSafe(work).catch_unwind()).await
        {
            Ok(Ok(answer)) => answer.map(Response::new),
            // Told to the log by the panic hook; without this the caller would see a call that was cancelled.
            Ok(Err(_)) => Err(status::refused(Reason::Internal)),
            Err(_) => Err(status::refused(Reason::DeadlineExceeded)),
        }
    }
}

impl Gate {
    /// Lets a watch through, or refuses it as [`pass`](Self::pass) does; with its place for as long as it lasts. It is at
    /// work only when there is something to tell, so its place is none of those of calls.
    pub(super) fn admit_watch<M>(
        &self,
        permit: Permit,
        request: &Request<M>,
    ) -> Result<(Arc<Caller>, OwnedSemaphorePermit), Status> {
        let caller = permitted(request, permit)?;
        let place = Arc::clone(&self.watches).try_acquire_owned();
        let place = place.map_err(|_| status::refused(Reason::Overloaded))?;
        Ok((caller, place))
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

/// Refuses a user where there is nothing for users, and a service without the scope.
fn require_permit(caller: &Caller, permit: Permit) -> Result<(), Status> {
    match (caller.as_user(), permit.is_for_users) {
        (None, _) => require_scope(caller, permit.scope),
        (Some(_), true) => Ok(()),
        (Some(_), false) => Err(status::refused(Reason::MethodDenied)),
    }
}

/// Refuses a caller without a scope; a user holds none.
pub(super) fn require_scope(caller: &Caller, scope: Scope) -> Result<(), Status> {
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
pub(super) fn require_every_organization(caller: &Caller) -> Result<(), Status> {
    match caller.access {
        Access::Every => Ok(()),
        Access::Only(_) => Err(status::refused(Reason::OrganizationDenied)),
    }
}

/// The organization a call is for, or what is wrong with its name.
///
/// Permission comes before existence and before what is wrong with other fields: a foreign one is refused as an unknown
/// one is.
pub(super) fn organization(caller: &Caller, input: &str) -> Result<Field<OrganizationId>, Status> {
    let id = fields::organization_id(input);
    match &id {
        Ok(id) if !caller.access.allows(id.as_str()) => {
            Err(status::refused(Reason::OrganizationDenied))
        }
        _ => Ok(id),
    }
}

/// The organization a call is for; `None` for all of them, which only a caller that is not limited may mean.
pub(super) fn optional_organization(
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
