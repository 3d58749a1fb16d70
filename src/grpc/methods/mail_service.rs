//! `MailService`: what an operator needs of the mails that are owed.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::gate::{Gate, Pace, organization, require_every_organization};
use crate::grpc::convert::mail;
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::mail_service_server::MailService;
use crate::proto::{GetBacklogRequest, GetBacklogResponse, RequeueRequest, RequeueResponse};
use crate::service::Service;

/// The service behind the protocol.
pub(crate) struct MailApi {
    service: Service,
    gate: Gate,
}

impl MailApi {
    /// Puts a use case behind each method.
    pub(crate) const fn new(service: Service, gate: Gate) -> Self {
        Self { service, gate }
    }
}

#[tonic::async_trait]
impl MailService for MailApi {
    async fn requeue(
        &self,
        request: Request<RequeueRequest>,
    ) -> Result<Response<RequeueResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: RequeueRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let request = mail::requeue_request(&message, actor(&caller), organization_id)
                .map_err(status::invalid)?;
            let page = self.service.requeue(request).await?;
            Ok(mail::requeue_response(message, page))
        };
        self.gate
            .pass(
                "Requeue",
                Scope::InvitationsWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn get_backlog(
        &self,
        request: Request<GetBacklogRequest>,
    ) -> Result<Response<GetBacklogResponse>, Status> {
        let work = async |caller: Arc<Caller>, _: GetBacklogRequest| {
            require_every_organization(&caller)?;
            Ok(mail::backlog(self.service.backlog().await?))
        };
        self.gate
            .pass(
                "GetBacklog",
                Scope::InvitationsRead,
                Pace::Quick,
                request,
                work,
            )
            .await
    }
}
