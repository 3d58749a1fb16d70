//! An invitation service that keeps nothing, for the tests of the client commands.
//!
//! It knows three kinds of rows: good ones, addresses without an at sign, and repeated ones. Its mails get on a little
//! with every look. It is no model of the service's rules.

mod events;
mod stream;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::invitation_service_server::{InvitationService, InvitationServiceServer};
use crate::proto::{
    AcceptRequest, AcceptResponse, Batch, BulkCreateRequest, BulkCreateResponse, BulkCreateResult,
    BulkCreateStreamHeader, BulkCreateStreamRequest, BulkCreateStreamResponse, BulkResendRequest,
    BulkResendResponse, BulkResendResult, BulkRevokeRequest, BulkRevokeResponse, CreateOutcome,
    DeclineRequest, DeclineResponse, Delivery, DeliveryState, DeliveryStateCount, ErrorReason,
    Event, GetBatchRequest, GetBatchResponse, GetRequest, GetResponse, Invitation, InvitationState,
    ItemError, ListRequest, ListResponse, PreviewRequest, PreviewResponse, ResendRequest,
    ResendResponse, RevokeRequest, RevokeResponse, StateCount, WatchRequest, WatchResponse,
};

/// The one token it knows.
pub(crate) const TOKEN: &str = "invc_good";
/// The one invitation it does not have.
pub(crate) const GONE: &str = "01a204dc-9b39-7001-8c82-000000000404";
/// The batch of everything it makes.
const BATCH_ID: &str = "batch-1";

/// The service.
#[derive(Default)]
pub(crate) struct FakeServer {
    /// How many calls of `BulkCreate` and `BulkResend` to refuse before the first is answered.
    pub(crate) refusals: Mutex<u32>,
    /// The `request_id` of every call of `BulkCreate` and `BulkResend`.
    pub(crate) request_ids: Mutex<Vec<String>>,
    /// How many invitations each look finds out of the queue; 0 leaves them all there.
    pub(crate) mails_per_look: usize,
    /// What it keeps.
    pub(crate) memory: Arc<Memory>,
}

/// What the service keeps, for as long as a stream of it lives.
#[derive(Default)]
pub(crate) struct Memory {
    /// Everything it made.
    pub(crate) invitations: Mutex<Vec<Invitation>>,
    /// What it knows of the lists of streams, by request id.
    pub(crate) lists: Mutex<HashMap<String, stream::List>>,
    /// After how many responses with something in them the next streams break, and how.
    pub(crate) breaks: Mutex<VecDeque<(usize, Status)>>,
    /// The header of every stream.
    pub(crate) headers: Mutex<Vec<BulkCreateStreamHeader>>,
    /// Most items that came in one message.
    pub(crate) message_items_max: Mutex<usize>,
    /// What happened.
    pub(crate) events: Mutex<Vec<Event>>,
    /// The cursor of every `Watch`.
    pub(crate) cursors: Mutex<Vec<String>>,
}

/// Serves on a free port as long as the future is polled; the address is told first.
pub(crate) fn serve(
    server: Arc<FakeServer>,
) -> (
    String,
    impl Future<Output = Result<(), tonic::transport::Error>>,
) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let incoming = TcpIncoming::bind(any).expect("a free port");
    let address = format!("http://{}", incoming.local_addr().expect("it is bound"));
    let serving = tonic::transport::Server::builder()
        .add_service(InvitationServiceServer::from_arc(server))
        .serve_with_incoming(incoming);
    (address, serving)
}

fn check_token<T>(request: &Request<T>) -> Result<(), Status> {
    let expected = format!("Bearer {TOKEN}");
    match request.metadata().get("authorization") {
        Some(value) if *value == expected.as_str() => Ok(()),
        _ => Err(Status::unauthenticated("the credentials are not valid")),
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeServer {
    /// Mails get on a little with every look.
    fn deliver_some(&self) {
        let mut stored = lock(&self.memory.invitations);
        let queued = stored
            .iter_mut()
            .filter_map(|invitation| {
                let fails = invitation.email.starts_with("gone");
                Some((fails, invitation.delivery.as_mut()?))
            })
            .filter(|(_, delivery)| delivery.state() == DeliveryState::Queued);
        for (fails, delivery) in queued.take(self.mails_per_look) {
            if fails {
                delivery.set_state(DeliveryState::Failed);
                delivery.last_error = "550 5.1.1 no such user here".to_owned();
            } else {
                delivery.set_state(DeliveryState::Sent);
            }
        }
    }

    fn refuse_at_first(&self) -> Result<(), Status> {
        let mut refusals = lock(&self.refusals);
        if *refusals == 0 {
            return Ok(());
        }
        *refusals -= 1;
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(100)));
        details.set_error_info("OVERLOADED", "invitation.v1", HashMap::new());
        let message = "the service is busy";
        Err(Status::with_error_details(
            Code::Unavailable,
            message,
            details,
        ))
    }
}

fn refused(reason: ErrorReason, message: &str) -> BulkCreateResult {
    BulkCreateResult {
        outcome: CreateOutcome::Failed.into(),
        error: Some(ItemError {
            reason: reason.into(),
            message: message.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn created(id: usize, email: &str) -> BulkCreateResult {
    BulkCreateResult {
        outcome: CreateOutcome::Created.into(),
        invitation: Some(Invitation {
            id: format!("invitation-{id}"),
            email: email.to_owned(),
            batch_id: BATCH_ID.to_owned(),
            delivery: Some(Delivery {
                state: DeliveryState::Queued.into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl InvitationService for FakeServer {
    async fn bulk_create(
        &self,
        request: Request<BulkCreateRequest>,
    ) -> Result<Response<BulkCreateResponse>, Status> {
        check_token(&request)?;
        let request = request.into_inner();
        lock(&self.request_ids).push(request.request_id);
        self.refuse_at_first()?;
        let mut stored = lock(&self.memory.invitations);
        let mut results = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, item) in request.invitations.iter().enumerate() {
            let email = item.email.trim_matches([' ', '\t']).to_ascii_lowercase();
            let mut result = if !email.contains('@') {
                refused(
                    ErrorReason::EmailInvalid,
                    "the address is not one that mail can reach",
                )
            } else if let Some(first) = seen.get(&email) {
                let mut result = refused(
                    ErrorReason::DuplicateInRequest,
                    "the address stands earlier in this request",
                );
                if let Some(error) = &mut result.error {
                    error
                        .metadata
                        .insert("first_index".to_owned(), first.to_string());
                }
                result
            } else {
                created(stored.len(), &email)
            };
            seen.entry(email).or_insert(index);
            stored.extend(result.invitation.clone());
            result.index = i32::try_from(index).unwrap_or(i32::MAX);
            result.email.clone_from(&item.email);
            results.push(result);
        }
        Ok(Response::new(BulkCreateResponse {
            batch_id: BATCH_ID.to_owned(),
            results,
            ..Default::default()
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        check_token(&request)?;
        self.deliver_some();
        let stored = lock(&self.memory.invitations);
        let start: usize = request.get_ref().page_token.parse().unwrap_or(0);
        let size = usize::try_from(request.get_ref().page_size).unwrap_or(0);
        let wanted = request.get_ref().delivery_state;
        let has_state = |invitation: &&Invitation| {
            let state = invitation.delivery.as_ref().map(|delivery| delivery.state);
            wanted == 0 || state == Some(wanted)
        };
        let found: Vec<_> = stored.iter().filter(has_state).collect();
        let page = found.iter().skip(start).take(size);
        let invitations: Vec<_> = page.map(|invitation| (*invitation).clone()).collect();
        let next = start + invitations.len();
        let next_page_token = if next < found.len() {
            next.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(ListResponse {
            invitations,
            next_page_token,
        }))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    async fn preview(
        &self,
        _: Request<PreviewRequest>,
    ) -> Result<Response<PreviewResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    async fn accept(&self, _: Request<AcceptRequest>) -> Result<Response<AcceptResponse>, Status> {
        Err(Status::unimplemented("no test calls it"))
    }

    async fn decline(
        &self,
        _: Request<DeclineRequest>,
    ) -> Result<Response<DeclineResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    type BulkCreateStreamStream = BoxStream<'static, Result<BulkCreateStreamResponse, Status>>;

    async fn bulk_create_stream(
        &self,
        request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<Self::BulkCreateStreamStream>, Status> {
        check_token(&request)?;
        if request.metadata().contains_key("grpc-timeout") {
            return Err(Status::invalid_argument(
                "a stream takes as long as it takes",
            ));
        }
        let refusal = self.refuse_at_first();
        let memory = Arc::clone(&self.memory);
        let answer = stream::answer(memory, request.into_inner(), refusal).await?;
        Ok(Response::new(answer))
    }

    async fn get_batch(
        &self,
        request: Request<GetBatchRequest>,
    ) -> Result<Response<GetBatchResponse>, Status> {
        check_token(&request)?;
        if request.get_ref().batch_id != BATCH_ID {
            return Err(Status::not_found("there is no such batch"));
        }
        self.deliver_some();
        let stored = lock(&self.memory.invitations);
        let mut counts: BTreeMap<i32, i64> = BTreeMap::new();
        for delivery in stored.iter().filter_map(|it| it.delivery.as_ref()) {
            *counts.entry(delivery.state).or_default() += 1;
        }
        let counts = counts
            .into_iter()
            .map(|(delivery_state, count)| DeliveryStateCount {
                delivery_state,
                count,
            });
        let count = number(stored.len());
        Ok(Response::new(GetBatchResponse {
            batch: Some(Batch {
                id: BATCH_ID.to_owned(),
                organization_id: request.into_inner().organization_id,
                item_count: count,
                invitation_count: count,
                state_counts: vec![StateCount {
                    state: InvitationState::Pending.into(),
                    count,
                }],
                delivery_state_counts: counts.collect(),
                ..Default::default()
            }),
        }))
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        check_token(&request)?;
        let memory = Arc::clone(&self.memory);
        Ok(Response::new(events::answer(memory, request.get_ref())?))
    }

    async fn bulk_revoke(
        &self,
        _request: Request<BulkRevokeRequest>,
    ) -> Result<Response<BulkRevokeResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    async fn bulk_resend(
        &self,
        request: Request<BulkResendRequest>,
    ) -> Result<Response<BulkResendResponse>, Status> {
        check_token(&request)?;
        let request = request.into_inner();
        lock(&self.request_ids).push(request.request_id);
        self.refuse_at_first()?;
        // A filter finds three in two pages.
        let (ids, next_page_token) = match (request.filter, request.page_token.as_str()) {
            (None, _) => (request.invitation_ids, ""),
            (Some(_), "") => (vec!["a".to_owned(), "b".to_owned()], "more"),
            (Some(_), _) => (vec!["c".to_owned()], ""),
        };
        let results = ids.into_iter().map(|invitation_id| BulkResendResult {
            error: (invitation_id == GONE).then(|| ItemError {
                reason: ErrorReason::InvitationNotFound.into(),
                ..Default::default()
            }),
            invitation_id,
            ..Default::default()
        });
        Ok(Response::new(BulkResendResponse {
            results: results.collect(),
            next_page_token: next_page_token.to_owned(),
            ..Default::default()
        }))
    }

    async fn resend(&self, _: Request<ResendRequest>) -> Result<Response<ResendResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }
}
