//! `MailService`: the queue of messages, for operators.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::api::Api;
use crate::domain::scope::Scope;
use crate::grpc::admission::acting_user;
use crate::grpc::admission::control::Method;
use crate::grpc::admission::permission::{organization, require_every_organization};
use crate::grpc::convert::fields::Fields as _;
use crate::grpc::convert::mail;
use crate::identity::Caller;
use crate::proto::mail_service_server::MailService;
use crate::proto::{
    GetBacklogRequest, GetBacklogResponse, RequeueMessagesRequest, RequeueMessagesResponse,
};
use crate::service::GetBacklog;

const REQUEUE: Method = Method::bulk("RequeueMessages", Scope::InvitationsWrite).with_many_rows();
const GET_BACKLOG: Method = Method::quick("GetBacklog", Scope::InvitationsRead);
/// All methods of the service.
pub(in crate::grpc) const METHODS: &[Method] = &[REQUEUE, GET_BACKLOG];

#[tonic::async_trait]
impl MailService for Api {
    async fn requeue_messages(
        &self,
        request: Request<RequeueMessagesRequest>,
    ) -> Result<Response<RequeueMessagesResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: RequeueMessagesRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let actor = acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?;
            let keyring = &self.keyring;
            let requeue =
                mail::requeue_request(&message, actor, organization_id, keyring).valid()?;
            let requeued = self.service.run(requeue).await?;
            Ok(mail::requeue_response(&message, requeued, keyring))
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
