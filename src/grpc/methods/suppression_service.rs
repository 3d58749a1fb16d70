//! `SuppressionService`: the list of addresses that get no more invitations.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::gate::{Gate, Pace, optional_organization};
use crate::grpc::convert::fields;
use crate::grpc::convert::{directory, suppression};
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::suppression_service_server::SuppressionService;
use crate::proto::{
    SuppressionServiceAddRequest, SuppressionServiceAddResponse, SuppressionServiceLiftRequest,
    SuppressionServiceLiftResponse, SuppressionServiceListRequest, SuppressionServiceListResponse,
};
use crate::service::{AddSuppressions, LiftSuppressions, ListSuppressions, Service};

/// The service behind the protocol.
pub(crate) struct SuppressionApi {
    service: Service,
    gate: Gate,
    keyring: Arc<Keyring>,
}

impl SuppressionApi {
    /// Puts a use case behind each method.
    pub(crate) const fn new(service: Service, gate: Gate, keyring: Arc<Keyring>) -> Self {
        Self {
            service,
            gate,
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
            let (organization_id, ((), expires_at)) = fields::both(
                optional_organization(&caller, &message.organization_id)?,
                fields::both(
                    directory::check_length("emails", message.emails.len()),
                    suppression::expiry(message.expire_time),
                ),
            )
            .map_err(status::invalid)?;
            let request = AddSuppressions {
                actor: actor(&caller),
                organization_id,
                emails: suppression::addresses(&message.emails),
                expires_at,
            };
            let outcomes = self.service.add_suppressions(request).await?;
            Ok(suppression::added(outcomes))
        };
        self.gate
            .pass("Add", Scope::SuppressionsWrite, Pace::Bulk, request, work)
            .await
    }

    async fn list(
        &self,
        request: Request<SuppressionServiceListRequest>,
    ) -> Result<Response<SuppressionServiceListResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuppressionServiceListRequest| {
            let list = list_name(&message);
            let (organization_id, ((email, reason), (page_size, after))) = fields::both(
                optional_organization(&caller, &message.organization_id)?,
                fields::both(
                    fields::both(
                        suppression::email_filter(&message.email),
                        suppression::reason_filter(message.reason),
                    ),
                    fields::both(
                        fields::page_size(message.page_size),
                        fields::cursor(&self.keyring, &list, &message.page_token, |cursor| {
                            suppression::key_of_cursor(&cursor)
                        }),
                    ),
                ),
            )
            .map_err(status::invalid)?;
            let request = ListSuppressions {
                organization_id,
                email,
                reason,
                after,
                page_size,
            };
            let (page, has_more) = self.service.list_suppressions(request).await?;
            let next_page_token = page
                .last()
                .filter(|_| has_more)
                .map(|last| page_token::seal(&self.keyring, &list, &suppression::cursor(last)))
                .unwrap_or_default();
            Ok(SuppressionServiceListResponse {
                suppressions: page.iter().map(suppression::suppression).collect(),
                next_page_token,
            })
        };
        self.gate
            .pass("List", Scope::SuppressionsWrite, Pace::Quick, request, work)
            .await
    }

    async fn lift(
        &self,
        request: Request<SuppressionServiceLiftRequest>,
    ) -> Result<Response<SuppressionServiceLiftResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuppressionServiceLiftRequest| {
            let (organization_id, ()) = fields::both(
                optional_organization(&caller, &message.organization_id)?,
                directory::check_length("emails", message.emails.len()),
            )
            .map_err(status::invalid)?;
            let request = LiftSuppressions {
                actor: actor(&caller),
                organization_id,
                emails: suppression::addresses(&message.emails),
            };
            let outcomes = self.service.lift_suppressions(request).await?;
            Ok(suppression::lifted(outcomes))
        };
        self.gate
            .pass("Lift", Scope::SuppressionsWrite, Pace::Bulk, request, work)
            .await
    }
}

/// Which list a request asks for: everything but where in it.
fn list_name(request: &SuppressionServiceListRequest) -> Vec<u8> {
    let mut name = b"suppressions\0".to_vec();
    let request = SuppressionServiceListRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    name.extend(request.encode_to_vec());
    name
}
