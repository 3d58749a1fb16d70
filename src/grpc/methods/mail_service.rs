//! `MailService`: the queue of messages, for operators.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::control::AdmissionControl;
use crate::grpc::admission::method::Method;
use crate::grpc::admission::permission::{organization, require_every_organization};
use crate::grpc::convert::mail;
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::mail_service_server::MailService;
use crate::proto::{GetBacklogRequest, GetBacklogResponse, RequeueRequest, RequeueResponse};
use crate::service::{GetBacklog, Service};

const REQUEUE: Method = Method::bulk("Requeue", Scope::InvitationsWrite);
const GET_BACKLOG: Method = Method::quick("GetBacklog", Scope::InvitationsRead);

/// `MailService`.
pub(in crate::grpc) struct MailApi {
    service: Service,
    admission: AdmissionControl,
}

impl MailApi {
    pub(in crate::grpc) const fn new(service: Service, admission: AdmissionControl) -> Self {
        Self { service, admission }
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
            let requeue = mail::requeue_request(&message, actor(&caller), organization_id)
                .map_err(status::invalid)?;
            let requeued = self.service.run(requeue).await?;
            Ok(mail::requeue_response(message, requeued))
        };
        self.admission.call(REQUEUE, request, work).await
    }

    async fn get_backlog(
        &self,
        request: Request<GetBacklogRequest>,
    ) -> Result<Response<GetBacklogResponse>, Status> {
        let work = async |caller: Arc<Caller>, _: GetBacklogRequest| {
            require_every_organization(&caller)?;
            Ok(mail::backlog(self.service.run(GetBacklog).await?))
        };
        self.admission.call(GET_BACKLOG, request, work).await
    }
}
