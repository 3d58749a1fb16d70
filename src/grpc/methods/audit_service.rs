//! `AuditService`: reads what callers did.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::api::Api;
use crate::domain::scope::Scope;
use crate::grpc::admission::control::Method;
use crate::grpc::admission::permission::optional_organization;
use crate::grpc::convert::audit;
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::list_token::ListToken;
use crate::identity::Caller;
use crate::proto::audit_service_server::AuditService;
use crate::proto::{ListAuditEventsRequest, ListAuditEventsResponse};
use crate::service::ListAuditEvents;

const LIST: Method = Method::quick("ListAuditEvents", Scope::AuditRead);
/// All methods of the service.
pub(in crate::grpc) const METHODS: &[Method] = &[LIST];

#[tonic::async_trait]
impl AuditService for Api {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ListAuditEventsRequest| {
            let query = ListAuditEventsRequest {
                page_size: 0,
                page_token: String::new(),
                ..message.clone()
            };
            let token = ListToken::new(&self.keyring, "audit", &query);
            let (organization_id, filter, page_size, before) = (
                optional_organization(&caller, &message.organization_id)?,
                audit::filter(&message),
                fields::page_size(message.page_size),
                token.open(&message.page_token, |cursor| Uuid::from_slice(&cursor).ok()),
            )
                .valid()?;
            let list = ListAuditEvents {
                organization_id,
                filter,
                before,
                page_size,
            };
            let page = self.service.run(list).await?;
            let last_key = page.items.last().map(|last| last.id.as_bytes().as_slice());
            let next_page_token = token.next(page.has_more, last_key);
            Ok(ListAuditEventsResponse {
                events: page.items.into_iter().map(audit::event).collect(),
                next_page_token,
            })
        };
        self.admission.call(LIST, request, work).await
    }
}
