//! Watch: events as they are committed.
//!
//! The stream is pulled: nothing is read of the database before there is room on the way to the caller, so a slow one
//! slows itself alone. It ends by a refusal, or because its caller goes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::domain::event_cursor::EventCursor;
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::reason::{Reason, Violation};
use crate::domain::scope::Scope;
use crate::grpc::admission::gate::{Admitted, Permit};
use crate::grpc::convert::event;
use crate::grpc::convert::fields::{self, Field};
use crate::grpc::methods::invitation_service::InvitationApi;
use crate::grpc::status;
use crate::grpc::wire::limits::{STREAM_AGE_MAX, WATCH_PERMISSION_INTERVAL, WATCH_SILENCE_MAX};
use crate::identity::Caller;
use crate::proto::{WatchRequest, WatchResponse};
use crate::service::{Happened, Service, ServiceError, Watch, WatchFrom};

/// What comes back.
pub(crate) type Responses = BoxStream<'static, Result<WatchResponse, Status>>;

/// Somebody who watches, and all that may end it.
struct Watcher {
    watch: Watch,
    service: Service,
    admitted: Admitted,
    organization_id: OrganizationId,
    keyring: Arc<Keyring>,
    log_name: Vec<u8>,
    /// When a response is due, even if nothing happened; the first one is at once.
    speak_at: Instant,
    permitted_until: Instant,
    /// Permission is asked anew, and load goes to new processes, at the latest by then.
    ends_at: Instant,
    has_more: bool,
}

impl InvitationApi {
    /// Answers with a stream of events.
    pub(crate) async fn watch_events(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Responses>, Status> {
        let permit = Permit::with_users(Scope::InvitationsRead);
        let admitted = self.gate.admit_watch("Watch", permit, &request)?;
        let span = admitted.span.clone();
        let message = request.into_inner();
        let log_name = log_name(&message);
        let beginning = self.begin_watch(&admitted.caller, &log_name, &message);
        let beginning = admitted.quick_part(beginning.instrument(span.clone()));
        let (watch, organization_id) = Box::pin(beginning).await?;
        let watcher = Watcher {
            watch,
            service: self.service.clone(),
            admitted,
            organization_id,
            keyring: Arc::clone(&self.keyring),
            log_name,
            speak_at: Instant::now(),
            permitted_until: Instant::now() + WATCH_PERMISSION_INTERVAL,
            ends_at: Instant::now() + STREAM_AGE_MAX,
            has_more: false,
        };
        let responses = futures::stream::unfold(Some(watcher), move |watcher| {
            respond(watcher).instrument(span.clone())
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn begin_watch(
        &self,
        caller: &Caller,
        log_name: &[u8],
        message: &WatchRequest,
    ) -> Result<(Watch, OrganizationId), Status> {
        let (organization_id, (batch_id, from)) = fields::both(
            self.organization(caller, &message.organization_id).await?,
            fields::both(
                fields::optional_batch_id(&message.batch_id),
                watch_from(&self.keyring, log_name, message),
            ),
        )
        .map_err(status::invalid)?;
        let begun = self.service.watch(organization_id.clone(), batch_id, from);
        Ok((begun.await?, organization_id))
    }
}

impl Watcher {
    /// The next response; waits for something to say, but not for long.
    async fn next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            self.require_permission().await?;
            let happened = self.watch.read().await?;
            self.has_more = happened.has_more;
            let is_due = Instant::now() >= self.speak_at;
            if is_due || happened.is_settled || !happened.events.is_empty() {
                self.speak_at = Instant::now() + WATCH_SILENCE_MAX;
                return Ok(self.response(&happened));
            }
            if !self.has_more {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.watch.news() => {}
            () = tokio::time::sleep_until(self.speak_at) => {}
        }
    }

    /// Asks once more, after a while, whether a user may still see this.
    async fn require_permission(&mut self) -> Result<(), ServiceError> {
        let Some(user) = self.admitted.caller.as_user() else {
            return Ok(());
        };
        if Instant::now() >= self.permitted_until {
            self.service
                .require_admin(&self.organization_id, &user.id)
                .await?;
            self.permitted_until = Instant::now() + WATCH_PERMISSION_INTERVAL;
        }
        Ok(())
    }

    fn response(&self, happened: &Happened) -> WatchResponse {
        let events = happened.events.iter();
        WatchResponse {
            events: events
                .map(|one| event::event(one, &self.organization_id))
                .collect(),
            cursor: page_token::seal(&self.keyring, &self.log_name, &happened.cursor.encode()),
        }
    }
}

/// The next response of a watcher, and the watcher unless it is the last one.
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
            // Told to the log by the panic hook.
            response.unwrap_or_else(|_| Err(status::refused(Reason::Internal)))
        }
    };
    let watcher = response.is_ok().then_some(watcher);
    Some((response, watcher))
}

/// Where to begin: a cursor says more than anything else.
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

/// What a cursor is bound to: the organization and the batch.
fn log_name(message: &WatchRequest) -> Vec<u8> {
    let batch_id = message.batch_id.to_ascii_lowercase();
    [
        b"events",
        message.organization_id.as_bytes(),
        batch_id.as_bytes(),
    ]
    .join(&0)
}
