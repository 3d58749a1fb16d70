//! What every call passes: who calls, whether they may, how many at once, and how long it may take.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::callers::{Caller, Callers};
use super::fields::Field;
use super::limits::{
    BULK_CALL_DURATION_MAX, CALL_DURATION_MAX, CALLS_AT_ONCE_MAX, DEADLINE_MARGIN,
};
use super::{fields, status};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;

/// How long a method may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// One row or one page.
    Quick,
    /// Thousands of rows.
    Bulk,
}

/// The gate, shared by all services of the server.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    callers: Callers,
    places: Arc<Semaphore>,
}

impl Gate {
    /// A gate for these callers.
    pub(super) fn new(callers: Callers) -> Self {
        Self {
            callers,
            places: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
        }
    }

    /// Lets a call through, or refuses it: first for who calls, then for what they may do, then for want of room.
    pub(super) async fn pass<M, T, W>(
        &self,
        method: &'static str,
        scope: Scope,
        pace: Pace,
        request: Request<M>,
        work: impl FnOnce(Arc<Caller>, M) -> W,
    ) -> Result<Response<T>, Status>
    where
        W: Future<Output = Result<T, Status>>,
    {
        let caller = self
            .callers
            .authenticate(request.metadata())
            .ok_or_else(|| status::refused(Reason::CredentialsInvalid))?;
        require_scope(&caller, scope)?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(status::refused(Reason::Overloaded));
        };
        let time_left = time_left(request.metadata(), pace);
        let span = tracing::info_span!("call", rpc.method = method, caller.name = caller.name);
        let work = work(caller, request.into_inner()).instrument(span);
        match tokio::time::timeout(time_left, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(answer)) => answer.map(Response::new),
            // Told to the log by the panic hook; without this the caller would see a call that was cancelled.
            Ok(Err(_)) => Err(status::refused(Reason::Internal)),
            Err(_) => Err(status::refused(Reason::DeadlineExceeded)),
        }
    }
}

/// Refuses a caller without a scope.
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

/// How long a call may take: what its caller gives it, and never more than its method gets.
///
/// tonic ends a call at its caller's deadline with CANCELLED, which meshes take for an invitation to retry. So the
/// gate ends it a moment before.
fn time_left(metadata: &MetadataMap, pace: Pace) -> Duration {
    let most = match pace {
        Pace::Quick => CALL_DURATION_MAX,
        Pace::Bulk => BULK_CALL_DURATION_MAX,
    };
    let asked = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout);
    asked.map_or(most, |asked| {
        asked.saturating_sub(DEADLINE_MARGIN).min(most)
    })
}

/// At most eight digits and a unit, as the gRPC protocol over HTTP/2 spells a timeout.
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let is_number =
        (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_spells_them() {
        assert_eq!(parse_timeout("500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_hours(99_999_999))
        );
        for bad in ["", "S", "5", "123456789S", "-1S", "1é", "5 S"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}
