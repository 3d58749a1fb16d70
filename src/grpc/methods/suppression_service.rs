//! `SuppressionService`: the list of addresses that get no more invitations.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::keyring::Keyring;
use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::control::AdmissionControl;
use crate::grpc::admission::method::Method;
use crate::grpc::admission::permission::optional_organization;
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::list_token::ListToken;
use crate::grpc::convert::suppression;
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::suppression_service_server::SuppressionService;
use crate::proto::{
    SuppressionServiceAddRequest, SuppressionServiceAddResponse, SuppressionServiceLiftRequest,
    SuppressionServiceLiftResponse, SuppressionServiceListRequest, SuppressionServiceListResponse,
};
use crate::service::{AddSuppressions, LiftSuppressions, ListSuppressions, Service};

const ADD: Method = Method::bulk("Add", Scope::SuppressionsWrite);
const LIST: Method = Method::quick("List", Scope::SuppressionsWrite);
const LIFT: Method = Method::bulk("Lift", Scope::SuppressionsWrite);

/// `SuppressionService`.
pub(in crate::grpc) struct SuppressionApi {
    service: Service,
    admission: AdmissionControl,
    keyring: Arc<Keyring>,
}

impl SuppressionApi {
    pub(in crate::grpc) const fn new(
        service: Service,
        admission: AdmissionControl,
        keyring: Arc<Keyring>,
    ) -> Self {
        Self {
            service,
            admission,
            keyring,
        }
    }
}

#[tonic::async_trait]
impl SuppressionService for SuppressionApi {
    async fn add(
        &self,
        request: Request<SuppressionServiceAddRequest>,
    ) -> Result<Response<SuppressionServiceAddResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuppressionServiceAddRequest| {
            let (organization_id, (), expires_at) = (
                optional_organization(&caller, &message.organization_id)?,
                fields::list_length("emails", message.emails.len()),
                suppression::expiry(message.expire_time),
            )
                .all()
                .map_err(status::invalid)?;
            let add = AddSuppressions {
                actor: actor(&caller),
                organization_id,
                emails: suppression::addresses(&message.emails),
                expires_at,
            };
            Ok(suppression::added(self.service.run(add).await?))
        };
        self.admission.call(ADD, request, work).await
    }

    async fn list(
        &self,
        request: Request<SuppressionServiceListRequest>,
    ) -> Result<Response<SuppressionServiceListResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuppressionServiceListRequest| {
            let query = SuppressionServiceListRequest {
                page_size: 0,
                page_token: String::new(),
                ..message.clone()
            };
            let token = ListToken::new(&self.keyring, "suppressions", &query);
            let (organization_id, email, reason, page_size, after) = (
                optional_organization(&caller, &message.organization_id)?,
                suppression::email_filter(&message.email),
                suppression::reason_filter(message.reason),
                fields::page_size(message.page_size),
                token.open(&message.page_token, |cursor| {
                    suppression::key_of_cursor(&cursor)
                }),
            )
                .all()
                .map_err(status::invalid)?;
            let list = ListSuppressions {
                organization_id,
                email,
                reason,
                after,
                page_size,
            };
            let page = self.service.run(list).await?;
            let last_key = page.items.last().map(suppression::cursor);
            Ok(SuppressionServiceListResponse {
                suppressions: page.items.iter().map(suppression::suppression).collect(),
                next_page_token: token.next(page.has_more, last_key.as_deref()),
            })
        };
        self.admission.call(LIST, request, work).await
    }

    async fn lift(
        &self,
        request: Request<SuppressionServiceLiftRequest>,
    ) -> Result<Response<SuppressionServiceLiftResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuppressionServiceLiftRequest| {
            let (organization_id, ()) = (
                optional_organization(&caller, &message.organization_id)?,
                fields::list_length("emails", message.emails.len()),
            )
                .all()
                .map_err(status::invalid)?;
            let lift = LiftSuppressions {
                actor: actor(&caller),
                organization_id,
                emails: suppression::addresses(&message.emails),
            };
            Ok(suppression::lifted(self.service.run(lift).await?))
        };
        self.admission.call(LIFT, request, work).await
    }
}
