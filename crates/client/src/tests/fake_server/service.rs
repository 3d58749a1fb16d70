//! The methods of the fake server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::memory::{
    BATCH_ID, Memory, created, duplicate, invalid_email, lock, normalized, number, viewed,
};
use super::recorded_requests::RecordedRequests;
use super::{events, stream};
use crate::proto::directory_service_server::DirectoryServiceServer;
use crate::proto::invitation_service_server::{InvitationService, InvitationServiceServer};
use crate::proto::mail_service_server::MailServiceServer;
use crate::proto::suppression_service_server::SuppressionServiceServer;
use crate::proto::{
    AcceptRequest, AcceptResponse, Batch, BulkCreateRequest, BulkCreateResponse,
    BulkCreateStreamRequest, BulkCreateStreamResponse, BulkGetRequest, BulkGetResponse,
    BulkResendRequest, BulkResendResponse, BulkRevokeRequest, BulkRevokeResponse, DeliveryState,
    DeliveryStateCount, ErrorReason, GetBatchRequest, GetBatchResponse, GetResult, Invitation,
    InvitationState, ItemError, ListRequest, ListResponse, Membership, ResendResult, RevokeOutcome,
    RevokeResult, StateCount, WatchRequest, WatchResponse,
};

/// The only valid token.
pub(crate) const TOKEN: &str = "invc_good";
/// The only invitation that does not exist.
pub(crate) const MISSING_ID: &str = "01a204dc-9b39-7001-8c82-000000000404";
/// An invitation that was declined.
pub(crate) const ENDED_ID: &str = "01a204dc-9b39-7001-8c82-000000000410";

#[derive(Default)]
pub(crate) struct FakeServer {
    /// How many calls of `BulkCreate`, `BulkCreateStream` and `BulkResend` are rejected before the first success.
    pub(crate) refusals: Mutex<u32>,
    /// The `request_id` of every call of `BulkCreate` and `BulkResend`.
    pub(crate) request_ids: Mutex<Vec<String>>,
    /// How many queued emails each read delivers.
    pub(crate) emails_per_read: usize,
    /// The requests of most methods.
    pub(crate) requests: RecordedRequests,
    pub(crate) memory: Arc<Memory>,
}

/// Serves on a free port as long as the future is polled. Returns the address first.
pub(crate) fn serve(
    server: Arc<FakeServer>,
) -> (
    String,
    impl Future<Output = Result<(), tonic::transport::Error>>,
) {
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let incoming = TcpIncoming::bind(any_port).expect("a free port");
    let address = format!("http://{}", incoming.local_addr().expect("a bound socket"));
    let serving = tonic::transport::Server::builder()
        .add_service(InvitationServiceServer::from_arc(Arc::clone(&server)))
        .add_service(MailServiceServer::from_arc(Arc::clone(&server)))
        .add_service(SuppressionServiceServer::from_arc(Arc::clone(&server)))
        .add_service(DirectoryServiceServer::from_arc(server))
        .serve_with_incoming(incoming);
    (address, serving)
}

/// The invitations that a call selects, and the next page token. A filter and `all` find three in two pages.
pub(super) fn selected_ids(ids: Vec<String>, page_token: &str) -> (Vec<String>, String) {
    let (found, next) = match page_token {
        _ if !ids.is_empty() => return (ids, String::new()),
        "" => (&["a", "b"][..], "more"),
        _ => (&["c"][..], ""),
    };
    let found = found.iter().map(|id| (*id).to_owned());
    (found.collect(), next.to_owned())
}

pub(super) fn missing(invitation_id: &str) -> Option<ItemError> {
    (invitation_id == MISSING_ID).then(|| ItemError {
        reason: ErrorReason::InvitationNotFound.into(),
        ..Default::default()
    })
}

pub(super) fn check_token<T>(request: &Request<T>) -> Result<(), Status> {
    let expected = format!("Bearer {TOKEN}");
    match request.metadata().get("authorization") {
        Some(value) if *value == expected.as_str() => Ok(()),
        _ => Err(Status::unauthenticated("the credentials are not valid")),
    }
}

impl FakeServer {
    /// Delivers some of the queued emails. Addresses that start with "gone" fail.
    fn deliver_some(&self) {
        let mut stored = lock(&self.memory.invitations);
        let queued = stored
            .iter_mut()
            .filter_map(|invitation| {
                let fails = invitation.email.starts_with("gone");
                Some((fails, invitation.delivery.as_mut()?))
            })
            .filter(|(_, delivery)| delivery.state() == DeliveryState::Queued);
        for (fails, delivery) in queued.take(self.emails_per_read) {
            if fails {
                delivery.set_state(DeliveryState::Failed);
                delivery.last_error = "550 5.1.1 no such user here".to_owned();
            } else {
                delivery.set_state(DeliveryState::Sent);
            }
        }
    }

    fn check_refusals(&self) -> Result<(), Status> {
        let mut refusals = lock(&self.refusals);
        if *refusals == 0 {
            return Ok(());
        }
        *refusals -= 1;
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(100)));
        details.set_error_info("OVERLOADED", "invitation.v1", HashMap::new());
        let message = "the server is busy";
        Err(Status::with_error_details(
            Code::Unavailable,
            message,
            details,
        ))
    }
}

#[tonic::async_trait]
impl InvitationService for FakeServer {
    async fn bulk_create(
        &self,
        request: Request<BulkCreateRequest>,
    ) -> Result<Response<BulkCreateResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let request = request.into_inner();
        lock(&self.request_ids).push(request.request_id.clone());
        self.check_refusals()?;
        let mut stored = lock(&self.memory.invitations);
        let mut results = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, item) in request.invitations.iter().enumerate() {
            let email = normalized(&item.email);
            let mut result = if !email.contains('@') {
                invalid_email()
            } else if let Some(first) = seen.get(&email) {
                duplicate(*first)
            } else {
                created(stored.len(), &email)
            };
            seen.entry(email).or_insert(index);
            stored.extend(result.invitation.clone());
            result.index = number(index);
            result.key.clone_from(&item.key);
            result.email.clone_from(&item.email);
            results.push(viewed(result, request.view()));
        }
        Ok(Response::new(BulkCreateResponse {
            batch_id: BATCH_ID.to_owned(),
            results,
            ..Default::default()
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        self.deliver_some();
        let stored = lock(&self.memory.invitations);
        let start: usize = request.get_ref().page_token.parse().unwrap_or(0);
        let size = usize::try_from(request.get_ref().page_size).unwrap_or(0);
        let filter = request.get_ref().filter.clone().unwrap_or_default();
        let wanted = &filter.delivery_states;
        let has_state = |invitation: &&Invitation| {
            let state = invitation.delivery.as_ref().map(|delivery| delivery.state);
            wanted.is_empty() || state.is_some_and(|state| wanted.contains(&state))
        };
        let is_of_batch = |invitation: &&Invitation| {
            filter.batch_id.is_none() || invitation.batch_id == filter.batch_id()
        };
        let found: Vec<_> = stored
            .iter()
            .filter(has_state)
            .filter(is_of_batch)
            .collect();
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

    async fn bulk_create_stream(
        &self,
        request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<BoxStream<'static, Result<BulkCreateStreamResponse, Status>>>, Status>
    {
        check_token(&request)?;
        if request.metadata().contains_key("grpc-timeout") {
            return Err(Status::invalid_argument(
                "a stream must not have a deadline",
            ));
        }
        let refusal = self.check_refusals();
        let memory = Arc::clone(&self.memory);
        let responses = stream::create(memory, request.into_inner(), refusal).await?;
        Ok(Response::new(responses))
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
        let stored: Vec<_> = stored.iter().filter(|it| it.batch_id == BATCH_ID).collect();
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

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<BoxStream<'static, Result<WatchResponse, Status>>>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let memory = Arc::clone(&self.memory);
        Ok(Response::new(events::watch(memory, request.get_ref())?))
    }

    async fn bulk_get(
        &self,
        request: Request<BulkGetRequest>,
    ) -> Result<Response<BulkGetResponse>, Status> {
        check_token(&request)?;
        self.deliver_some();
        let stored = lock(&self.memory.invitations);
        let ids = request.get_ref().invitation_ids.iter();
        let results = ids.zip(0..).map(|(id, index)| GetResult {
            index,
            invitation: stored.iter().find(|it| it.id == *id).cloned(),
            error: None,
        });
        Ok(Response::new(BulkGetResponse {
            results: results.collect(),
            failed_count: 0,
        }))
    }

    async fn accept(
        &self,
        request: Request<AcceptRequest>,
    ) -> Result<Response<AcceptResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        Ok(Response::new(AcceptResponse {
            membership: Some(Membership {
                user_id: request.into_inner().user_id,
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn bulk_revoke(
        &self,
        request: Request<BulkRevokeRequest>,
    ) -> Result<Response<BulkRevokeResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let request = request.into_inner();
        let (ids, next_page_token) = selected_ids(request.invitation_ids, &request.page_token);
        let results = ids.into_iter().map(|invitation_id| {
            let outcome = match invitation_id.as_str() {
                MISSING_ID => RevokeOutcome::Failed,
                ENDED_ID => RevokeOutcome::Unchanged,
                _ => RevokeOutcome::Revoked,
            };
            RevokeResult {
                error: missing(&invitation_id),
                invitation_id,
                outcome: outcome.into(),
                ..Default::default()
            }
        });
        Ok(Response::new(BulkRevokeResponse {
            results: results.collect(),
            next_page_token,
            ..Default::default()
        }))
    }

    async fn bulk_resend(
        &self,
        request: Request<BulkResendRequest>,
    ) -> Result<Response<BulkResendResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let request = request.into_inner();
        lock(&self.request_ids).push(request.request_id);
        self.check_refusals()?;
        let (ids, next_page_token) = selected_ids(request.invitation_ids, &request.page_token);
        let results = ids.into_iter().map(|invitation_id| ResendResult {
            error: missing(&invitation_id),
            invitation_id,
            ..Default::default()
        });
        Ok(Response::new(BulkResendResponse {
            results: results.collect(),
            next_page_token,
            ..Default::default()
        }))
    }
}
