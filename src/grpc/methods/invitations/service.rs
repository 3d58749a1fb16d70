//! The methods, with who may call them and how long they may take.

use tonic::{Request, Response, Status, Streaming};

use super::api::InvitationApi;
use super::{bulk, by_id, by_link, create_stream, watch};
use crate::domain::scope::Scope;
use crate::grpc::admission::method::Method;
use crate::proto::invitation_service_server::InvitationService;
use crate::proto::{
    AcceptRequest, AcceptResponse, BulkCreateRequest, BulkCreateResponse, BulkCreateStreamRequest,
    BulkResendRequest, BulkResendResponse, BulkRevokeRequest, BulkRevokeResponse, DeclineRequest,
    DeclineResponse, GetBatchRequest, GetBatchResponse, GetRequest, GetResponse, ListRequest,
    ListResponse, PreviewRequest, PreviewResponse, ResendRequest, ResendResponse, RevokeRequest,
    RevokeResponse, WatchRequest,
};

const BULK_CREATE: Method = Method::bulk("BulkCreate", Scope::InvitationsWrite).for_users();
const BULK_CREATE_STREAM: Method =
    Method::bulk("BulkCreateStream", Scope::InvitationsWrite).for_users();
const BULK_RESEND: Method = Method::bulk("BulkResend", Scope::InvitationsWrite).for_users();
const BULK_REVOKE: Method = Method::bulk("BulkRevoke", Scope::InvitationsWrite).for_users();
const GET: Method = Method::quick("Get", Scope::InvitationsRead).for_users();
const LIST: Method = Method::quick("List", Scope::InvitationsRead).for_users();
const GET_BATCH: Method = Method::quick("GetBatch", Scope::InvitationsRead).for_users();
const WATCH: Method = Method::quick("Watch", Scope::InvitationsRead).for_users();
const REVOKE: Method = Method::quick("Revoke", Scope::InvitationsWrite).for_users();
const RESEND: Method = Method::quick("Resend", Scope::InvitationsWrite).for_users();
const PREVIEW: Method = Method::quick("Preview", Scope::InvitationsRead).for_users();
const ACCEPT: Method = Method::quick("Accept", Scope::InvitationsWrite).for_users();
const DECLINE: Method = Method::quick("Decline", Scope::InvitationsWrite).for_users();

#[tonic::async_trait]
impl InvitationService for InvitationApi {
    async fn bulk_create(
        &self,
        request: Request<BulkCreateRequest>,
    ) -> Result<Response<BulkCreateResponse>, Status> {
        self.admission
            .call(BULK_CREATE, request, |caller, message| {
                bulk::create(self, caller, message)
            })
            .await
    }

    type BulkCreateStreamStream = create_stream::ResultStream;

    async fn bulk_create_stream(
        &self,
        request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<Self::BulkCreateStreamStream>, Status> {
        let stream = self.admission.admit_stream(BULK_CREATE_STREAM, &request)?;
        Ok(Response::new(create_stream::open(self, stream, request)))
    }

    async fn get_batch(
        &self,
        request: Request<GetBatchRequest>,
    ) -> Result<Response<GetBatchResponse>, Status> {
        self.admission
            .call(GET_BATCH, request, |caller, message| {
                by_id::get_batch(self, caller, message)
            })
            .await
    }

    type WatchStream = watch::EventStream;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stream = self.admission.admit_watch(WATCH, &request)?;
        let events = watch::open(self, stream, request.into_inner());
        Ok(Response::new(Box::pin(events).await?))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.admission
            .call(GET, request, |caller, message| {
                by_id::get(self, caller, message)
            })
            .await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.admission
            .call(LIST, request, |caller, message| {
                by_id::list(self, caller, message)
            })
            .await
    }

    async fn preview(
        &self,
        request: Request<PreviewRequest>,
    ) -> Result<Response<PreviewResponse>, Status> {
        self.admission
            .call(PREVIEW, request, |caller, message| {
                by_link::preview(self, caller, message)
            })
            .await
    }

    async fn accept(
        &self,
        request: Request<AcceptRequest>,
    ) -> Result<Response<AcceptResponse>, Status> {
        self.admission
            .call(ACCEPT, request, |caller, message| {
                by_link::accept(self, caller, message)
            })
            .await
    }

    async fn decline(
        &self,
        request: Request<DeclineRequest>,
    ) -> Result<Response<DeclineResponse>, Status> {
        self.admission
            .call(DECLINE, request, |caller, message| {
                by_link::decline(self, caller, message)
            })
            .await
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        self.admission
            .call(REVOKE, request, |caller, message| {
                by_id::revoke(self, caller, message)
            })
            .await
    }

    async fn bulk_revoke(
        &self,
        request: Request<BulkRevokeRequest>,
    ) -> Result<Response<BulkRevokeResponse>, Status> {
        self.admission
            .call(BULK_REVOKE, request, |caller, message| {
                bulk::revoke(self, caller, message)
            })
            .await
    }

    async fn resend(
        &self,
        request: Request<ResendRequest>,
    ) -> Result<Response<ResendResponse>, Status> {
        self.admission
            .call(RESEND, request, |caller, message| {
                by_id::resend(self, caller, message)
            })
            .await
    }

    async fn bulk_resend(
        &self,
        request: Request<BulkResendRequest>,
    ) -> Result<Response<BulkResendResponse>, Status> {
        self.admission
            .call(BULK_RESEND, request, |caller, message| {
                bulk::resend(self, caller, message)
            })
            .await
    }
}
