//! The methods of `DirectoryService` that read organizations, users and memberships.

use std::sync::Arc;

use tonic::Status;

use super::api::Api;
use crate::grpc::admission::permission::{organization, require_every_organization};
use crate::grpc::convert::directory;
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::list_token::ListToken;
use crate::grpc::convert::page::FittingRows;
use crate::grpc::convert::viewer::Viewer;
use crate::identity::Caller;
use crate::proto::{
    GetMembershipRequest, GetMembershipResponse, GetOrganizationRequest, GetOrganizationResponse,
    GetUserRequest, GetUserResponse, ListMembershipsRequest, ListMembershipsResponse,
    ListOrganizationsRequest, ListOrganizationsResponse, ListUsersRequest, ListUsersResponse,
};
use crate::service::{
    GetMembership, GetOrganization, GetUser, ListMemberships, ListOrganizations, ListUsers,
};

pub(super) async fn get_organization(
    api: &Api,
    caller: Arc<Caller>,
    message: GetOrganizationRequest,
) -> Result<GetOrganizationResponse, Status> {
    let organization_id = organization(&caller, &message.organization_id)?.valid()?;
    let found = api.service.run(GetOrganization { organization_id }).await?;
    Ok(GetOrganizationResponse {
        organization: Some(directory::organization_record(found)),
    })
}

pub(super) async fn list_organizations(
    api: &Api,
    caller: Arc<Caller>,
    message: ListOrganizationsRequest,
) -> Result<ListOrganizationsResponse, Status> {
    let query = ListOrganizationsRequest {
        show_deleted: message.show_deleted,
        ..Default::default()
    };
    let token = ListToken::new(&api.keyring, "organizations", &query);
    let (page_size, after) = (
        fields::page_size(message.page_size),
        token.open(&message.page_token, |cursor| String::from_utf8(cursor).ok()),
    )
        .valid()?;
    let list = ListOrganizations {
        access: caller.access.clone(),
        show_deleted: message.show_deleted,
        after: after.unwrap_or_default(),
        page_size,
    };
    let page = api.service.run(list).await?;
    let items = page.items.into_iter().map(directory::organization_record);
    let fitting = FittingRows::of(items);
    let last_key = fitting.rows.last().map(|last| last.id.as_bytes());
    let next_page_token = token.next(page.has_more || fitting.is_cut, last_key);
    Ok(ListOrganizationsResponse {
        organizations: fitting.rows,
        next_page_token,
    })
}

pub(super) async fn get_user(
    api: &Api,
    caller: Arc<Caller>,
    message: GetUserRequest,
) -> Result<GetUserResponse, Status> {
    require_every_organization(&caller)?;
    let user_id = fields::user_id(&message.user_id).valid()?;
    let found = api.service.run(GetUser { user_id }).await?;
    Ok(GetUserResponse {
        user: Some(directory::user_record(found)),
    })
}

pub(super) async fn list_users(
    api: &Api,
    caller: Arc<Caller>,
    message: ListUsersRequest,
) -> Result<ListUsersResponse, Status> {
    require_every_organization(&caller)?;
    let query = ListUsersRequest {
        verified_email: message.verified_email.clone(),
        ..Default::default()
    };
    let token = ListToken::new(&api.keyring, "users", &query);
    let (page_size, verified_email, after) = (
        fields::page_size(message.page_size),
        fields::optional(&message.verified_email, fields::verified_email),
        token.open(&message.page_token, |cursor| String::from_utf8(cursor).ok()),
    )
        .valid()?;
    let list = ListUsers {
        verified_email,
        after: after.unwrap_or_default(),
        page_size,
    };
    let page = api.service.run(list).await?;
    let fitting = FittingRows::of(page.items.into_iter().map(directory::user_record));
    let last_key = fitting.rows.last().map(|last| last.id.as_bytes());
    let next_page_token = token.next(page.has_more || fitting.is_cut, last_key);
    Ok(ListUsersResponse {
        users: fitting.rows,
        next_page_token,
    })
}

pub(super) async fn get_membership(
    api: &Api,
    caller: Arc<Caller>,
    message: GetMembershipRequest,
) -> Result<GetMembershipResponse, Status> {
    let (organization_id, user_id) = (
        organization(&caller, &message.organization_id)?,
        fields::user_id(&message.user_id),
    )
        .valid()?;
    let get = GetMembership {
        organization_id,
        user_id,
    };
    let found = api.service.run(get).await?;
    Ok(GetMembershipResponse {
        membership: Some(Viewer::new(&caller).membership(found)),
    })
}

pub(super) async fn list_memberships(
    api: &Api,
    caller: Arc<Caller>,
    message: ListMembershipsRequest,
) -> Result<ListMembershipsResponse, Status> {
    let query = ListMembershipsRequest {
        organization_id: message.organization_id.clone(),
        ..Default::default()
    };
    let token = ListToken::new(&api.keyring, "memberships", &query);
    let (organization_id, page_size, after) = (
        organization(&caller, &message.organization_id)?,
        fields::page_size(message.page_size),
        token.open(&message.page_token, |cursor| String::from_utf8(cursor).ok()),
    )
        .valid()?;
    let list = ListMemberships {
        organization_id,
        after: after.unwrap_or_default(),
        page_size,
    };
    let page = api.service.run(list).await?;
    let (viewer, items) = (Viewer::new(&caller), page.items.into_iter());
    let fitting = FittingRows::of(items.map(|found| viewer.membership(found)));
    let last_key = fitting.rows.last().map(|last| last.user_id.as_bytes());
    let next_page_token = token.next(page.has_more || fitting.is_cut, last_key);
    Ok(ListMembershipsResponse {
        memberships: fitting.rows,
        next_page_token,
    })
}
