//! The methods, with who may call them and how long they may take.

use tonic::{Request, Response, Status, Streaming};

use super::{by_link, create_stream, of_organization, watch};
use crate::domain::scope::Scope;
use crate::grpc::admission::control::Method;
use crate::grpc::methods::api::Api;
use crate::proto::invitation_service_server::InvitationService;
use crate::proto::{
    AcceptRequest, AcceptResponse, BulkCreateRequest, BulkCreateResponse, BulkCreateStreamRequest,
    BulkGetRequest, BulkGetResponse, BulkResendRequest, BulkResendResponse, BulkRevokeRequest,
    BulkRevokeResponse, DeclineRequest, DeclineResponse, GetBatchRequest, GetBatchResponse,
    GetRequest, GetResponse, ListRequest, ListResponse, PreviewRequest, PreviewResponse,
    ResendRequest, ResendResponse, RevokeRequest, RevokeResponse, WatchRequest,
};

const BULK_CREATE: Method = Method::bulk("BulkCreate", Scope::InvitationsWrite).for_users();
const BULK_CREATE_STREAM: Method =
    Method::bulk("BulkCreateStream", Scope::InvitationsWrite).for_users();
const BULK_RESEND: Method = Method::bulk("BulkResend", Scope::InvitationsWrite)
    .with_many_rows()
    .for_users();
const BULK_REVOKE: Method = Method::bulk("BulkRevoke", Scope::InvitationsWrite)
    .with_many_rows()
    .for_users();
const GET: Method = Method::quick("Get", Scope::InvitationsRead).for_users();
const BULK_GET: Method = Method::bulk("BulkGet", Scope::InvitationsRead)
    .with_many_rows()
    .for_users();
const LIST: Method = Method::quick("List", Scope::InvitationsRead)
    .with_many_rows()
    .for_users();
const GET_BATCH: Method = Method::quick("GetBatch", Scope::InvitationsRead).for_users();
const WATCH: Method = Method::quick("Watch", Scope::InvitationsRead).for_users();
const REVOKE: Method = Method::quick("Revoke", Scope::InvitationsWrite).for_users();
const RESEND: Method = Method::quick("Resend", Scope::InvitationsWrite).for_users();
const PREVIEW: Method = Method::quick("Preview", Scope::InvitationsRead).for_users();
const ACCEPT: Method = Method::quick("Accept", Scope::InvitationsWrite).for_users();
const DECLINE: Method = Method::quick("Decline", Scope::InvitationsWrite).for_users();
/// All methods of the service.
pub(in crate::grpc) const METHODS: &[Method] = &[
    BULK_CREATE,
    BULK_CREATE_STREAM,
    BULK_RESEND,
    BULK_REVOKE,
    GET,
    BULK_GET,
    LIST,
    GET_BATCH,
    WATCH,
    REVOKE,
    RESEND,
    PREVIEW,
    ACCEPT,
    DECLINE,
];

#[tonic::async_trait]
impl InvitationService for Api {
    async fn bulk_create(
        &self,
        request: Request<BulkCreateRequest>,
    ) -> Result<Response<BulkCreateResponse>, Status> {
        self.call(BULK_CREATE, request, of_organization::bulk_create)
            .await
    }

    type BulkCreateStreamStream = create_stream::ResultStream;

    async fn bulk_create_stream(
        &self,
        request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<Self::BulkCreateStreamStream>, Status> {
        let stream = self.admission.admit(BULK_CREATE_STREAM, &request)?;
        Ok(Response::new(create_stream::open(self, stream, request)))
    }

    async fn get_batch(
        &self,
        request: Request<GetBatchRequest>,
    ) -> Result<Response<GetBatchResponse>, Status> {
        self.call(GET_BATCH, request, of_organization::get_batch)
            .await
    }

    type WatchStream = watch::EventStream;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stream = self.admission.admit(WATCH, &request)?;
        let events = watch::open(self, stream, request.into_inner());
        Ok(Response::new(Box::pin(events).await?))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.call(GET, request, of_organization::get).await
    }

    async fn bulk_get(
        &self,
        request: Request<BulkGetRequest>,
    ) -> Result<Response<BulkGetResponse>, Status> {
        self.call(BULK_GET, request, of_organization::bulk_get)
            .await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.call(LIST, request, of_organization::list).await
    }

    async fn preview(
        &self,
        request: Request<PreviewRequest>,
    ) -> Result<Response<PreviewResponse>, Status> {
        self.call(PREVIEW, request, by_link::preview).await
    }

    async fn accept(
        &self,
        request: Request<AcceptRequest>,
    ) -> Result<Response<AcceptResponse>, Status> {
        self.call(ACCEPT, request, by_link::accept).await
    }

    async fn decline(
        &self,
        request: Request<DeclineRequest>,
    ) -> Result<Response<DeclineResponse>, Status> {
        self.call(DECLINE, request, by_link::decline).await
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        self.call(REVOKE, request, of_organization::revoke).await
    }

    async fn bulk_revoke(
        &self,
        request: Request<BulkRevokeRequest>,
    ) -> Result<Response<BulkRevokeResponse>, Status> {
        self.call(BULK_REVOKE, request, of_organization::bulk_revoke)
            .await
    }

    async fn resend(
        &self,
        request: Request<ResendRequest>,
    ) -> Result<Response<ResendResponse>, Status> {
        self.call(RESEND, request, of_organization::resend).await
    }

    async fn bulk_resend(
        &self,
        request: Request<BulkResendRequest>,
    ) -> Result<Response<BulkResendResponse>, Status> {
        self.call(BULK_RESEND, request, of_organization::bulk_resend)
            .await
    }
}
