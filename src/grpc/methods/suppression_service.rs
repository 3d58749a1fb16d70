//! `SuppressionService`: the list of addresses that get no more invitations.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::api::Api;
use crate::domain::scope::Scope;
use crate::grpc::admission::acting_user;
use crate::grpc::admission::control::Method;
use crate::grpc::admission::permission::optional_organization;
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::list_token::ListToken;
use crate::grpc::convert::suppression;
use crate::identity::Caller;
use crate::proto;
use crate::proto::suppression_service_server::SuppressionService;
use crate::service::{AddSuppressions, LiftSuppressions, ListSuppressions};

const ADD: Method = Method::bulk("AddSuppressions", Scope::SuppressionsWrite);
const LIST: Method = Method::quick("ListSuppressions", Scope::SuppressionsRead);
const LIFT: Method = Method::bulk("LiftSuppressions", Scope::SuppressionsWrite);
/// All methods of the service.
pub(in crate::grpc) const METHODS: &[Method] = &[ADD, LIST, LIFT];

#[tonic::async_trait]
impl SuppressionService for Api {
    async fn add_suppressions(
        &self,
        request: Request<proto::AddSuppressionsRequest>,
    ) -> Result<Response<proto::AddSuppressionsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::AddSuppressionsRequest| {
            let (organization_id, (), actor) = (
                optional_organization(&caller, &message.organization_id)?,
                fields::list_length("suppressions", message.suppressions.len()),
                acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?,
            )
                .valid()?;
            let add = AddSuppressions {
                actor,
                organization_id,
                items: message.suppressions.iter().map(suppression::item).collect(),
            };
            Ok(suppression::added(self.service.run(add).await?))
        };
        self.admission.call(ADD, request, work).await
    }

    async fn list_suppressions(
        &self,
        request: Request<proto::ListSuppressionsRequest>,
    ) -> Result<Response<proto::ListSuppressionsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::ListSuppressionsRequest| {
            let query = proto::ListSuppressionsRequest {
                page_size: 0,
                page_token: String::new(),
                ..message.clone()
            };
            let token = ListToken::new(&self.keyring, "suppressions", &query);
            let (organization_id, email, reason, page_size, after) = (
                optional_organization(&caller, &message.organization_id)?,
                fields::optional(&message.email, fields::email),
                suppression::reason_filter(message.reason),
                fields::page_size(message.page_size),
                token.open(&message.page_token, |cursor| {
                    suppression::key_of_cursor(&cursor)
                }),
            )
                .valid()?;
            let list = ListSuppressions {
                organization_id,
                email,
                reason,
                after,
                page_size,
            };
            let page = self.service.run(list).await?;
            let last_key = page.items.last().map(suppression::cursor);
            Ok(proto::ListSuppressionsResponse {
                suppressions: page.items.iter().map(suppression::suppression).collect(),
                next_page_token: token.next(page.has_more, last_key.as_deref()),
            })
        };
        self.admission.call(LIST, request, work).await
    }

    async fn lift_suppressions(
        &self,
        request: Request<proto::LiftSuppressionsRequest>,
    ) -> Result<Response<proto::LiftSuppressionsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::LiftSuppressionsRequest| {
            let (organization_id, (), actor) = (
                optional_organization(&caller, &message.organization_id)?,
                fields::list_length("emails", message.emails.len()),
                acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?,
            )
                .valid()?;
            let lift = LiftSuppressions {
                actor,
                organization_id,
                emails: suppression::addresses(&message.emails),
            };
            Ok(suppression::lifted(self.service.run(lift).await?))
        };
        self.admission.call(LIFT, request, work).await
    }
}
