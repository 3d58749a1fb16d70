//! `Watch`: events as they are committed.
//!
//! The database is read only when there is room on the way to the caller, so a slow caller slows only its own stream.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tonic::Status;
use tracing::Instrument as _;

use crate::domain::actor::Access;
use crate::domain::event::{EventCursor, EventFilter, EventType};
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::admission::control::AdmittedStream;
use crate::grpc::convert::event;
use crate::grpc::convert::fields::{self, Field, Fields as _};
use crate::grpc::methods::api::Api;
use crate::grpc::status;
use crate::grpc::wire::limits::{STREAM_AGE_MAX, WATCH_PERMISSION_INTERVAL, WATCH_SILENCE_MAX};
use crate::identity::Caller;
use crate::proto::{WatchRequest, WatchResponse};
use crate::service::{
    RequireInvitingMember, Service, ServiceError, Watch, WatchFrom, WatchedEvents,
};

pub(super) type EventStream = BoxStream<'static, Result<WatchResponse, Status>>;

/// A watch, and everything that may end it.
struct Watcher {
    watch: Watch,
    service: Service,
    admitted: AdmittedStream,
    /// `None` for all organizations that the caller may see.
    organization_id: Option<OrganizationId>,
    keyring: Arc<Keyring>,
    log_name: Vec<u8>,
    /// When a response is due, even without events. The first one is due at once.
    response_due_at: Instant,
    permitted_until: Instant,
    /// When the stream ends, so that permission is checked again and load moves to new processes.
    ends_at: Instant,
    has_more: bool,
}

pub(super) async fn open(
    api: &Api,
    mut admitted: AdmittedStream,
    message: WatchRequest,
) -> Result<EventStream, Status> {
    let span = admitted.span.clone();
    let begin = begin(api, &admitted.caller, &message).instrument(span.clone());
    let started = Box::pin(admitted.run_quick_part(begin)).await?;
    admitted.count_as_watch()?;
    let now = Instant::now();
    let watcher = Watcher {
        watch: started.watch,
        service: api.service.clone(),
        admitted,
        organization_id: started.organization_id,
        keyring: Arc::clone(&api.keyring),
        log_name: started.log_name,
        response_due_at: now,
        permitted_until: now + WATCH_PERMISSION_INTERVAL,
        ends_at: now + STREAM_AGE_MAX,
        has_more: false,
    };
    let responses = futures::stream::unfold(Some(watcher), move |watcher| {
        respond(watcher).instrument(span.clone())
    });
    Ok(responses.boxed())
}

struct StartedWatch {
    watch: Watch,
    organization_id: Option<OrganizationId>,
    log_name: Vec<u8>,
}

async fn begin(api: &Api, caller: &Caller, message: &WatchRequest) -> Result<StartedWatch, Status> {
    let types = event::types(&message.types);
    let log_name = log_name(message, types.as_deref().unwrap_or_default());
    let (organization_id, batch_id, types, from) = (
        watched_organization(api, caller, message).await?,
        fields::optional(&message.batch_id, fields::batch_id),
        types,
        watch_from(&api.keyring, &log_name, message),
    )
        .valid()?;
    let filter = EventFilter {
        organizations: match &organization_id {
            Some(id) => Access::Only([id.as_str().to_owned()].into()),
            None => caller.access.clone(),
        },
        batch_id,
        types,
    };
    let watch = api.service.watch(organization_id.clone(), filter, from);
    Ok(StartedWatch {
        watch: watch.await?,
        organization_id,
        log_name,
    })
}

/// The organization, or `None` for all that the caller may see. A user and a batch need one.
async fn watched_organization(
    api: &Api,
    caller: &Caller,
    message: &WatchRequest,
) -> Result<Field<Option<OrganizationId>>, Status> {
    let input = &message.organization_id;
    if input.is_empty() && caller.as_user().is_none() && message.batch_id.is_empty() {
        return Ok(Ok(None));
    }
    Ok(api.organization(caller, input).await?.map(Some))
}

impl Watcher {
    /// The next response. Waits for events, but not longer than a response may be late.
    async fn next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            self.require_permission().await?;
            let read = self.watch.read().await?;
            self.has_more = read.has_more;
            let is_due = Instant::now() >= self.response_due_at;
            if is_due || read.is_settled || !read.events.is_empty() {
                self.response_due_at = Instant::now() + WATCH_SILENCE_MAX;
                return Ok(self.response(read));
            }
            if !self.has_more {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.watch.changed() => {}
            () = tokio::time::sleep_until(self.response_due_at) => {}
        }
    }

    /// Checks from time to time whether a user is still an admin.
    async fn require_permission(&mut self) -> Result<(), ServiceError> {
        let (Some(user), Some(organization_id)) =
            (self.admitted.caller.as_user(), &self.organization_id)
        else {
            return Ok(());
        };
        if Instant::now() >= self.permitted_until {
            let require_member = RequireInvitingMember {
                organization_id: organization_id.clone(),
                user_id: user.id.clone(),
            };
            self.service.run(require_member).await?;
            self.permitted_until = Instant::now() + WATCH_PERMISSION_INTERVAL;
        }
        Ok(())
    }

    fn response(&self, read: WatchedEvents) -> WatchResponse {
        WatchResponse {
            events: read.events.into_iter().map(event::event).collect(),
            cursor: page_token::seal(&self.keyring, &self.log_name, &read.cursor.encode()),
        }
    }
}

/// The next response, and the watcher unless the stream ends.
async fn respond(
    watcher: Option<Watcher>,
) -> Option<(Result<WatchResponse, Status>, Option<Watcher>)> {
    let mut watcher = watcher?;
    let closing = watcher.admitted.closing().clone();
    let response = tokio::select! {
        biased;
        () = closing.cancelled() => Err(status::refused(Reason::Overloaded)),
        () = tokio::time::sleep_until(watcher.ends_at) => Err(status::refused(Reason::Overloaded)),
        response = AssertUnwindSafe(watcher.next()).catch_unwind() => {
            // The panic hook logs it.
            response.unwrap_or_else(|_| Err(status::refused(Reason::Internal)))
        }
    };
    let watcher = response.is_ok().then_some(watcher);
    Some((response, watcher))
}

fn watch_from(keyring: &Keyring, log_name: &[u8], message: &WatchRequest) -> Field<WatchFrom> {
    if message.cursor.is_empty() {
        return Ok(if message.from_now {
            WatchFrom::Now
        } else {
            WatchFrom::Oldest
        });
    }
    page_token::open(keyring, log_name, &message.cursor)
        .ok()
        .and_then(|bytes| EventCursor::decode(&bytes))
        .map(WatchFrom::Cursor)
        .ok_or_else(|| vec![Violation::new("cursor", Reason::CursorInvalid)])
}

/// What a cursor is bound to: the organization or all of them, the batch and the types.
fn log_name(message: &WatchRequest, types: &[EventType]) -> Vec<u8> {
    let types: Vec<&str> = types.iter().map(|known| known.as_str()).collect();
    [
        "events",
        &message.organization_id,
        &message.batch_id.to_ascii_lowercase(),
        &types.join(","),
    ]
    .join("\0")
    .into_bytes()
}
