//! The methods for many invitations.

use std::sync::Arc;

use tonic::Status;

use super::api::InvitationApi;
use crate::grpc::admission::acting_user;
use crate::grpc::admission::actor::actor;
use crate::grpc::convert::viewer::Viewer;
use crate::grpc::convert::{bulk_create, bulk_resend, bulk_revoke};
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::{
    BulkCreateRequest, BulkCreateResponse, BulkResendRequest, BulkResendResponse,
    BulkRevokeRequest, BulkRevokeResponse,
};

pub(super) async fn create(
    api: &InvitationApi,
    caller: Arc<Caller>,
    mut message: BulkCreateRequest,
) -> Result<BulkCreateResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    acting_user::restrict_bulk_create(&caller, &mut message)?;
    let emails = message
        .invitations
        .iter()
        .map(|item| item.email.clone())
        .collect();
    let request =
        bulk_create::request(message, actor(&caller), organization_id).map_err(status::invalid)?;
    api.rates.spend(&caller.name, request.items.len())?;
    let batch = api.service.bulk_create(request).await?;
    Ok(bulk_create::response(&Viewer::new(&caller), batch, emails))
}

pub(super) async fn revoke(
    api: &InvitationApi,
    caller: Arc<Caller>,
    message: BulkRevokeRequest,
) -> Result<BulkRevokeResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let mut request =
        bulk_revoke::request(&message, actor(&caller), organization_id).map_err(status::invalid)?;
    request.by_user_id = acting_user::named_or_self(&caller, "user_id", request.by_user_id)?;
    let revoked = api.service.run(request).await?;
    Ok(bulk_revoke::response(&message, &revoked))
}

pub(super) async fn resend(
    api: &InvitationApi,
    caller: Arc<Caller>,
    message: BulkResendRequest,
) -> Result<BulkResendResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let request = bulk_resend::request(&message, actor(&caller), organization_id, &api.keyring)
        .map_err(status::invalid)?;
    api.rates
        .spend(&caller.name, request.selection.size_max())?;
    let resent = api.service.bulk_resend(request).await?;
    let viewer = Viewer::new(&caller);
    Ok(bulk_resend::response(
        &viewer,
        &message,
        resent,
        &api.keyring,
    ))
}
