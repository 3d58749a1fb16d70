//! The methods for the invitations of an organization: one, a page, a batch, or many in one call.

use std::sync::Arc;

use tonic::Status;
use uuid::Uuid;

use crate::grpc::admission::acting_user;
use crate::grpc::admission::permission::actor;
use crate::grpc::convert::bulk_create::ItemEcho;
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::viewed_invitations::ViewedInvitations;
use crate::grpc::convert::viewer::Viewer;
use crate::grpc::convert::{batch, bulk_change, bulk_create, bulk_get, enums, filter};
use crate::grpc::methods::api::Api;
use crate::identity::Caller;
use crate::proto::{
    BulkCreateRequest, BulkCreateResponse, BulkGetRequest, BulkGetResponse, BulkResendRequest,
    BulkResendResponse, BulkRevokeRequest, BulkRevokeResponse, GetBatchRequest, GetBatchResponse,
    GetRequest, GetResponse, ListRequest, ListResponse, ResendRequest, ResendResponse,
    RevokeRequest, RevokeResponse,
};
use crate::service::{GetBatch, GetInvitation, ListInvitations, Revoke};

pub(super) async fn get(
    api: &Api,
    caller: Arc<Caller>,
    message: GetRequest,
) -> Result<GetResponse, Status> {
    let (organization_id, id) = (
        api.organization(&caller, &message.organization_id).await?,
        fields::invitation_id(&message.invitation_id),
    )
        .valid()?;
    let get = GetInvitation {
        organization_id,
        id,
    };
    let found = api.service.run(get).await?;
    Ok(GetResponse {
        invitation: Some(Viewer::new(&caller).invitation(found)),
    })
}

pub(super) async fn bulk_get(
    api: &Api,
    caller: Arc<Caller>,
    message: BulkGetRequest,
) -> Result<BulkGetResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let (get, requested) = bulk_get::request(&message, organization_id).valid()?;
    let mut viewed = ViewedInvitations::new(&caller, get.view);
    let found = api.service.run(get).await?;
    Ok(bulk_get::response(&mut viewed, &requested, &found))
}

pub(super) async fn list(
    api: &Api,
    caller: Arc<Caller>,
    message: ListRequest,
) -> Result<ListResponse, Status> {
    let wanted = message.filter.as_ref();
    let token = filter::LIST.token(&api.keyring, &message.organization_id, wanted);
    let (organization_id, page_size, filter, before, view) = (
        api.organization(&caller, &message.organization_id).await?,
        fields::page_size(message.page_size),
        filter::LIST.parse(wanted),
        token.open_id(&message.page_token),
        enums::view(message.view),
    )
        .valid()?;
    let list = ListInvitations {
        organization_id,
        filter,
        before,
        page_size,
        view,
    };
    let page = api.service.run(list).await?;
    let ids: Vec<Uuid> = page.items.iter().map(|found| found.id).collect();
    let fitting = ViewedInvitations::new(&caller, view).page(page.items);
    let last_id = ids[..fitting.rows.len()].last();
    Ok(ListResponse {
        next_page_token: token.next_after(page.has_more || fitting.is_cut, last_id),
        invitations: fitting.rows,
    })
}

pub(super) async fn get_batch(
    api: &Api,
    caller: Arc<Caller>,
    message: GetBatchRequest,
) -> Result<GetBatchResponse, Status> {
    let (organization_id, id) = (
        api.organization(&caller, &message.organization_id).await?,
        fields::batch_id(&message.batch_id),
    )
        .valid()?;
    let get = GetBatch {
        organization_id,
        id,
    };
    let (found, counts) = api.service.run(get).await?;
    Ok(GetBatchResponse {
        batch: Some(batch::batch(&found, &counts)),
    })
}

pub(super) async fn revoke(
    api: &Api,
    caller: Arc<Caller>,
    message: RevokeRequest,
) -> Result<RevokeResponse, Status> {
    let (organization_id, id, actor) = (
        api.organization(&caller, &message.organization_id).await?,
        fields::invitation_id(&message.invitation_id),
        acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?,
    )
        .valid()?;
    let revoke = Revoke {
        organization_id,
        id,
        actor,
    };
    let revoked = api.service.run(revoke).await?;
    Ok(RevokeResponse {
        invitation: Some(Viewer::new(&caller).invitation(revoked)),
    })
}

pub(super) async fn resend(
    api: &Api,
    caller: Arc<Caller>,
    message: ResendRequest,
) -> Result<ResendResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let actor = acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?;
    let resend = bulk_change::resend(&message, actor, organization_id).valid()?;
    api.rates.spend(&caller.name, 1)?;
    let invitation = api.service.run(resend).await?;
    Ok(ResendResponse {
        invitation: Some(Viewer::new(&caller).invitation(invitation)),
    })
}

pub(super) async fn bulk_create(
    api: &Api,
    caller: Arc<Caller>,
    mut message: BulkCreateRequest,
) -> Result<BulkCreateResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let inviter = &mut message.inviter_user_id;
    acting_user::restrict_inviter(&caller, "inviter_user_id", inviter, message.return_link)?;
    acting_user::restrict_items(&caller, "invitations", &message.invitations)?;
    let echoes = message.invitations.iter().map(ItemEcho::of).collect();
    let request = bulk_create::request(message, actor(&caller), organization_id).valid()?;
    api.rates.spend(&caller.name, request.items.len())?;
    let mut viewed = ViewedInvitations::new(&caller, request.terms.view);
    let batch = api.service.run(request).await?;
    Ok(bulk_create::response(&mut viewed, batch, echoes))
}

pub(super) async fn bulk_revoke(
    api: &Api,
    caller: Arc<Caller>,
    message: BulkRevokeRequest,
) -> Result<BulkRevokeResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let actor = acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?;
    let keyring = &api.keyring;
    let request = bulk_change::bulk_revoke(&message, actor, organization_id, keyring).valid()?;
    let mut viewed = ViewedInvitations::new(&caller, request.view);
    let revoked = api.service.run(request).await?;
    Ok(bulk_change::revoke_response(
        &mut viewed,
        &message,
        revoked,
        keyring,
    ))
}

pub(super) async fn bulk_resend(
    api: &Api,
    caller: Arc<Caller>,
    message: BulkResendRequest,
) -> Result<BulkResendResponse, Status> {
    let organization_id = api.organization(&caller, &message.organization_id).await?;
    let actor = acting_user::actor(&caller, &message.acting_user_id, &message.request_id)?;
    let keyring = &api.keyring;
    let request = bulk_change::bulk_resend(&message, actor, organization_id, keyring).valid()?;
    api.rates
        .spend(&caller.name, request.selection.size_max())?;
    let mut viewed = ViewedInvitations::new(&caller, request.view);
    let resent = api.service.run(request).await?;
    Ok(bulk_change::resend_response(
        &mut viewed,
        &message,
        resent,
        keyring,
    ))
}
