//! `AuditService`: reading what callers did. Nothing here writes.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::scope::Scope;
use crate::grpc::admission::gate::{Gate, Pace, optional_organization};
use crate::grpc::convert::audit;
use crate::grpc::convert::fields;
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::audit_service_server::AuditService;
use crate::proto::{AuditServiceListRequest, AuditServiceListResponse};
use crate::service::{ListAudit, Service};

/// The service behind the protocol.
pub(crate) struct AuditApi {
    service: Service,
    gate: Gate,
    keyring: Arc<Keyring>,
}

impl AuditApi {
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
impl AuditService for AuditApi {
    async fn list(
        &self,
        request: Request<AuditServiceListRequest>,
    ) -> Result<Response<AuditServiceListResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: AuditServiceListRequest| {
            let list = list_name(&message);
            let (organization_id, (filter, (page_size, before))) = fields::both(
                optional_organization(&caller, &message.organization_id)?,
                fields::both(
                    audit::filter(&message),
                    fields::both(
                        fields::page_size(message.page_size),
                        fields::cursor(&self.keyring, &list, &message.page_token, |cursor| {
                            Uuid::from_slice(&cursor).ok()
                        }),
                    ),
                ),
            )
            .map_err(status::invalid)?;
            let request = ListAudit {
                organization_id,
                filter,
                before,
                page_size,
            };
            let (page, has_more) = self.service.list_audit(request).await?;
            let next_page_token = page
                .last()
                .filter(|_| has_more)
                .map(|last| page_token::seal(&self.keyring, &list, last.id.as_bytes()))
                .unwrap_or_default();
            Ok(AuditServiceListResponse {
                events: page.into_iter().map(audit::event).collect(),
                next_page_token,
            })
        };
        self.gate
            .pass("List", Scope::AuditRead, Pace::Quick, request, work)
            .await
    }
}

/// Which list a request asks for: everything but where in it.
fn list_name(request: &AuditServiceListRequest) -> Vec<u8> {
    let mut name = b"audit\0".to_vec();
    let request = AuditServiceListRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    name.extend(request.encode_to_vec());
    name
}
