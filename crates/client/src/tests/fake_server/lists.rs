//! The suppression list and the queue of emails of the fake server. They only record what they are asked.

use tonic::{Request, Response, Status};

use super::service::{FakeServer, check_token, missing, selected_ids};
use crate::proto::mail_service_server::MailService;
use crate::proto::suppression_service_server::SuppressionService;
use crate::proto::{
    AddSuppressionOutcome, AddSuppressionResult, AddSuppressionsRequest, AddSuppressionsResponse,
    LiftSuppressionOutcome, LiftSuppressionResult, LiftSuppressionsRequest,
    LiftSuppressionsResponse, RequeueMessagesRequest, RequeueMessagesResponse, RequeueResult,
};

#[tonic::async_trait]
impl SuppressionService for FakeServer {
    async fn add_suppressions(
        &self,
        request: Request<AddSuppressionsRequest>,
    ) -> Result<Response<AddSuppressionsResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let added = AddSuppressionResult {
            outcome: AddSuppressionOutcome::Added.into(),
            ..Default::default()
        };
        Ok(Response::new(AddSuppressionsResponse {
            results: vec![added; request.get_ref().suppressions.len()],
            failed_count: 0,
        }))
    }

    async fn lift_suppressions(
        &self,
        request: Request<LiftSuppressionsRequest>,
    ) -> Result<Response<LiftSuppressionsResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let lifted = LiftSuppressionResult {
            outcome: LiftSuppressionOutcome::Lifted.into(),
            ..Default::default()
        };
        Ok(Response::new(LiftSuppressionsResponse {
            results: vec![lifted; request.get_ref().emails.len()],
            failed_count: 0,
        }))
    }
}

#[tonic::async_trait]
impl MailService for FakeServer {
    async fn requeue_messages(
        &self,
        request: Request<RequeueMessagesRequest>,
    ) -> Result<Response<RequeueMessagesResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let request = request.into_inner();
        let (ids, next_page_token) = selected_ids(request.invitation_ids, &request.page_token);
        let results = ids.into_iter().map(|invitation_id| RequeueResult {
            error: missing(&invitation_id),
            invitation_id,
            ..Default::default()
        });
        Ok(Response::new(RequeueMessagesResponse {
            results: results.collect(),
            next_page_token,
            ..Default::default()
        }))
    }
}
