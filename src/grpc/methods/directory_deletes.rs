//! The methods of `DirectoryService` that delete organizations, users and memberships.

use std::sync::Arc;

use tonic::Status;

use super::api::Api;
use crate::grpc::admission::permission::{named_actor, organization, require_every_organization};
use crate::grpc::convert::directory::{self, row_count};
use crate::grpc::convert::fields::{self, Fields as _};
use crate::identity::Caller;
use crate::proto::{
    BulkDeleteMembershipsRequest, BulkDeleteMembershipsResponse, BulkDeleteUsersRequest,
    BulkDeleteUsersResponse, DeleteMembershipRequest, DeleteMembershipResponse,
    DeleteOrganizationRequest, DeleteOrganizationResponse, DeleteUserRequest, DeleteUserResponse,
};
use crate::service::{
    BulkDeleteMemberships, BulkDeleteUsers, DeleteMembership, DeleteOptions, DeleteOrganization,
    DeleteUser,
};

pub(super) async fn delete_organization(
    api: &Api,
    caller: Arc<Caller>,
    message: DeleteOrganizationRequest,
) -> Result<DeleteOrganizationResponse, Status> {
    let (organization_id, actor) = (
        organization(&caller, &message.organization_id)?,
        named_actor(&caller, &message.acting_user_id, &message.request_id),
    )
        .valid()?;
    let delete = DeleteOrganization {
        organization_id,
        options: options(message.allow_missing, message.validate_only),
        actor,
    };
    let deleted = api.service.run(delete).await?;
    Ok(DeleteOrganizationResponse {
        revoked_invitation_count: row_count(deleted.revoked_invitations),
        deleted_membership_count: row_count(deleted.memberships),
    })
}

pub(super) async fn delete_user(
    api: &Api,
    caller: Arc<Caller>,
    message: DeleteUserRequest,
) -> Result<DeleteUserResponse, Status> {
    require_every_organization(&caller)?;
    let (user_id, actor) = (
        fields::user_id(&message.user_id),
        named_actor(&caller, &message.acting_user_id, &message.request_id),
    )
        .valid()?;
    let delete = DeleteUser {
        user_id,
        options: options(message.allow_missing, message.validate_only),
        actor,
    };
    let deleted = api.service.run(delete).await?;
    Ok(DeleteUserResponse {
        revoked_invitation_count: row_count(deleted.revoked_invitations),
        deleted_membership_count: row_count(deleted.memberships),
        deleted_email_count: row_count(deleted.emails),
    })
}

pub(super) async fn bulk_delete_users(
    api: &Api,
    caller: Arc<Caller>,
    message: BulkDeleteUsersRequest,
) -> Result<BulkDeleteUsersResponse, Status> {
    require_every_organization(&caller)?;
    let ((), actor) = (
        fields::list_length("user_ids", message.user_ids.len()),
        named_actor(&caller, &message.acting_user_id, &message.request_id),
    )
        .valid()?;
    let ids = message.user_ids.iter();
    let delete = BulkDeleteUsers {
        user_ids: ids.map(|id| fields::user_id(id)).collect(),
        options: options(message.allow_missing, message.validate_only),
        actor,
    };
    let bulk = api.service.run(delete).await?;
    let (results, failed_count) = directory::deleted(bulk.results);
    Ok(BulkDeleteUsersResponse {
        results,
        failed_count,
        revoked_invitation_count: row_count(bulk.deleted.revoked_invitations),
        deleted_membership_count: row_count(bulk.deleted.memberships),
    })
}

pub(super) async fn delete_membership(
    api: &Api,
    caller: Arc<Caller>,
    message: DeleteMembershipRequest,
) -> Result<DeleteMembershipResponse, Status> {
    let (organization_id, user_id, actor) = (
        organization(&caller, &message.organization_id)?,
        fields::user_id(&message.user_id),
        named_actor(&caller, &message.acting_user_id, &message.request_id),
    )
        .valid()?;
    let delete = DeleteMembership {
        organization_id,
        user_id,
        options: options(message.allow_missing, message.validate_only),
        actor,
    };
    let deleted = api.service.run(delete).await?;
    Ok(DeleteMembershipResponse {
        revoked_invitation_count: row_count(deleted.revoked_invitations),
    })
}

pub(super) async fn bulk_delete_memberships(
    api: &Api,
    caller: Arc<Caller>,
    message: BulkDeleteMembershipsRequest,
) -> Result<BulkDeleteMembershipsResponse, Status> {
    let ((), actor) = (
        fields::list_length("memberships", message.memberships.len()),
        named_actor(&caller, &message.acting_user_id, &message.request_id),
    )
        .valid()?;
    let keys = message.memberships.iter();
    let delete = BulkDeleteMemberships {
        memberships: keys.map(directory::member_key).collect(),
        options: options(message.allow_missing, message.validate_only),
        actor,
    };
    let bulk = api.service.run(delete).await?;
    let (results, failed_count) = directory::deleted(bulk.results);
    Ok(BulkDeleteMembershipsResponse {
        results,
        failed_count,
        revoked_invitation_count: row_count(bulk.deleted.revoked_invitations),
    })
}

const fn options(allow_missing: bool, validate_only: bool) -> DeleteOptions {
    DeleteOptions {
        allow_missing,
        validate_only,
    }
}
