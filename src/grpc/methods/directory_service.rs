//! `DirectoryService`: the organizations, users and memberships that callers store.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::api::Api;
use crate::domain::scope::Scope;
use crate::grpc::admission::control::Method;
use crate::grpc::admission::permission::{
    actor, named_actor, organization, require_every_organization,
};
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::list_token::ListToken;
use crate::grpc::convert::viewer::Viewer;
use crate::grpc::convert::{directory, times};
use crate::identity::Caller;
use crate::proto;
use crate::proto::directory_service_server::DirectoryService;
use crate::service::{
    DeleteMembership, DeleteOrganization, DeleteUser, GetMembership, ListMemberships,
    ResumeOrganization, SuspendOrganization, UpsertMemberships, UpsertOrganizations, UpsertUsers,
};

const UPSERT_ORGANIZATIONS: Method = Method::bulk("UpsertOrganizations", Scope::DirectoryWrite);
const UPSERT_USERS: Method = Method::bulk("UpsertUsers", Scope::DirectoryWrite);
const UPSERT_MEMBERSHIPS: Method = Method::bulk("UpsertMemberships", Scope::DirectoryWrite);
const GET_MEMBERSHIP: Method = Method::quick("GetMembership", Scope::DirectoryRead);
const LIST_MEMBERSHIPS: Method = Method::quick("ListMemberships", Scope::DirectoryRead);
const DELETE_ORGANIZATION: Method = Method::bulk("DeleteOrganization", Scope::DirectoryAdmin);
const SUSPEND_ORGANIZATION: Method = Method::quick("SuspendOrganization", Scope::DirectoryAdmin);
const RESUME_ORGANIZATION: Method = Method::bulk("ResumeOrganization", Scope::DirectoryAdmin);
const DELETE_USER: Method = Method::bulk("DeleteUser", Scope::DirectoryAdmin);
const DELETE_MEMBERSHIP: Method = Method::bulk("DeleteMembership", Scope::DirectoryAdmin);
const ERASE_ADDRESS: Method = Method::bulk("EraseAddress", Scope::DirectoryAdmin);

#[tonic::async_trait]
impl DirectoryService for Api {
    async fn upsert_organizations(
        &self,
        request: Request<proto::UpsertOrganizationsRequest>,
    ) -> Result<Response<proto::UpsertOrganizationsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::UpsertOrganizationsRequest| {
            let (mask, actor, ()) = (
                directory::organization_mask(message.update_mask.as_ref()),
                named_actor(&caller, &message.acting_user_id, &message.request_id),
                fields::list_length("organizations", message.organizations.len()),
            )
                .valid()?;
            let inputs = message.organizations.into_iter();
            let upsert = UpsertOrganizations {
                inputs: inputs.map(directory::organization).collect(),
                mask,
                undelete: message.undelete,
                actor,
            };
            let (results, failed_count) = directory::upserted(self.service.run(upsert).await?);
            Ok(proto::UpsertOrganizationsResponse {
                results,
                failed_count,
            })
        };
        self.admission
            .call(UPSERT_ORGANIZATIONS, request, work)
            .await
    }

    async fn upsert_users(
        &self,
        request: Request<proto::UpsertUsersRequest>,
    ) -> Result<Response<proto::UpsertUsersResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::UpsertUsersRequest| {
            require_every_organization(&caller)?;
            let (mask, actor, ()) = (
                directory::user_mask(message.update_mask.as_ref()),
                named_actor(&caller, &message.acting_user_id, &message.request_id),
                fields::list_length("users", message.users.len()),
            )
                .valid()?;
            let inputs = message.users.iter();
            let upsert = UpsertUsers {
                inputs: inputs.map(|user| directory::user(user, &mask)).collect(),
                actor,
            };
            let (results, failed_count) = directory::upserted(self.service.run(upsert).await?);
            Ok(proto::UpsertUsersResponse {
                results,
                failed_count,
            })
        };
        self.admission.call(UPSERT_USERS, request, work).await
    }

    async fn upsert_memberships(
        &self,
        request: Request<proto::UpsertMembershipsRequest>,
    ) -> Result<Response<proto::UpsertMembershipsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::UpsertMembershipsRequest| {
            let (mask, actor, ()) = (
                directory::membership_mask(message.update_mask.as_ref()),
                named_actor(&caller, &message.acting_user_id, &message.request_id),
                fields::list_length("memberships", message.memberships.len()),
            )
                .valid()?;
            let inputs = message.memberships.into_iter();
            let upsert = UpsertMemberships {
                inputs: inputs.map(directory::membership_input).collect(),
                mask,
                actor,
            };
            let (results, failed_count) = directory::upserted(self.service.run(upsert).await?);
            Ok(proto::UpsertMembershipsResponse {
                results,
                failed_count,
            })
        };
        self.admission.call(UPSERT_MEMBERSHIPS, request, work).await
    }

    async fn get_organization(
        &self,
        _: Request<proto::GetOrganizationRequest>,
    ) -> Result<Response<proto::GetOrganizationResponse>, Status> {
        Err(Status::unimplemented("TODO(13)"))
    }

    async fn list_organizations(
        &self,
        _: Request<proto::ListOrganizationsRequest>,
    ) -> Result<Response<proto::ListOrganizationsResponse>, Status> {
        Err(Status::unimplemented("TODO(13)"))
    }

    async fn get_user(
        &self,
        _: Request<proto::GetUserRequest>,
    ) -> Result<Response<proto::GetUserResponse>, Status> {
        Err(Status::unimplemented("TODO(13)"))
    }

    async fn list_users(
        &self,
        _: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        Err(Status::unimplemented("TODO(13)"))
    }

    async fn bulk_delete_users(
        &self,
        _: Request<proto::BulkDeleteUsersRequest>,
    ) -> Result<Response<proto::BulkDeleteUsersResponse>, Status> {
        Err(Status::unimplemented("TODO(13)"))
    }

    async fn bulk_delete_memberships(
        &self,
        _: Request<proto::BulkDeleteMembershipsRequest>,
    ) -> Result<Response<proto::BulkDeleteMembershipsResponse>, Status> {
        Err(Status::unimplemented("TODO(13)"))
    }

    async fn get_membership(
        &self,
        request: Request<proto::GetMembershipRequest>,
    ) -> Result<Response<proto::GetMembershipResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::GetMembershipRequest| {
            let (organization_id, user_id) = (
                organization(&caller, &message.organization_id)?,
                fields::user_id(&message.user_id),
            )
                .valid()?;
            let get = GetMembership {
                organization_id,
                user_id,
            };
            let found = self.service.run(get).await?;
            Ok(proto::GetMembershipResponse {
                membership: Some(Viewer::new(&caller).membership(found)),
            })
        };
        self.admission.call(GET_MEMBERSHIP, request, work).await
    }

    async fn list_memberships(
        &self,
        request: Request<proto::ListMembershipsRequest>,
    ) -> Result<Response<proto::ListMembershipsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::ListMembershipsRequest| {
            let query = proto::ListMembershipsRequest {
                organization_id: message.organization_id.clone(),
                ..Default::default()
            };
            let token = ListToken::new(&self.keyring, "memberships", &query);
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
            let page = self.service.run(list).await?;
            let last_key = page.items.last().map(|last| last.user_id.as_bytes());
            let next_page_token = token.next(page.has_more, last_key);
            let viewer = Viewer::new(&caller);
            Ok(proto::ListMembershipsResponse {
                memberships: page
                    .items
                    .into_iter()
                    .map(|found| viewer.membership(found))
                    .collect(),
                next_page_token,
            })
        };
        self.admission.call(LIST_MEMBERSHIPS, request, work).await
    }

    async fn delete_organization(
        &self,
        request: Request<proto::DeleteOrganizationRequest>,
    ) -> Result<Response<proto::DeleteOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::DeleteOrganizationRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let delete = DeleteOrganization {
                organization_id: organization_id.valid()?,
                actor: actor(&caller),
            };
            let deleted = self.service.run(delete).await?;
            Ok(proto::DeleteOrganizationResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
                deleted_membership_count: count(deleted.memberships),
            })
        };
        self.admission
            .call(DELETE_ORGANIZATION, request, work)
            .await
    }

    async fn suspend_organization(
        &self,
        request: Request<proto::SuspendOrganizationRequest>,
    ) -> Result<Response<proto::SuspendOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::SuspendOrganizationRequest| {
            require_every_organization(&caller)?;
            let organization_id = fields::organization_id(&message.organization_id);
            let suspend = SuspendOrganization {
                organization_id: organization_id.valid()?,
                actor: actor(&caller),
            };
            let suspended_at = self.service.run(suspend).await?;
            tracing::warn!("an organization is suspended");
            Ok(proto::SuspendOrganizationResponse {
                suspend_time: Some(times::timestamp(suspended_at)),
            })
        };
        self.admission
            .call(SUSPEND_ORGANIZATION, request, work)
            .await
    }

    async fn resume_organization(
        &self,
        request: Request<proto::ResumeOrganizationRequest>,
    ) -> Result<Response<proto::ResumeOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::ResumeOrganizationRequest| {
            require_every_organization(&caller)?;
            let organization_id = fields::organization_id(&message.organization_id);
            let resume = ResumeOrganization {
                organization_id: organization_id.valid()?,
                actor: actor(&caller),
            };
            let released = self.service.run(resume).await?;
            Ok(proto::ResumeOrganizationResponse {
                released_message_count: count(released),
            })
        };
        self.admission
            .call(RESUME_ORGANIZATION, request, work)
            .await
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::DeleteUserRequest| {
            require_every_organization(&caller)?;
            let delete = DeleteUser {
                user_id: fields::user_id(&message.user_id).valid()?,
                actor: actor(&caller),
            };
            let deleted = self.service.run(delete).await?;
            Ok(proto::DeleteUserResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
                deleted_membership_count: count(deleted.memberships),
                deleted_email_count: count(deleted.emails),
            })
        };
        self.admission.call(DELETE_USER, request, work).await
    }

    async fn delete_membership(
        &self,
        request: Request<proto::DeleteMembershipRequest>,
    ) -> Result<Response<proto::DeleteMembershipResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::DeleteMembershipRequest| {
            let (organization_id, user_id) = (
                organization(&caller, &message.organization_id)?,
                fields::user_id(&message.user_id),
            )
                .valid()?;
            let delete = DeleteMembership {
                organization_id,
                user_id,
                actor: actor(&caller),
            };
            let deleted = self.service.run(delete).await?;
            Ok(proto::DeleteMembershipResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
            })
        };
        self.admission.call(DELETE_MEMBERSHIP, request, work).await
    }

    async fn erase_address(
        &self,
        request: Request<proto::EraseAddressRequest>,
    ) -> Result<Response<proto::EraseAddressResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::EraseAddressRequest| {
            require_every_organization(&caller)?;
            let email = fields::email(&message.email).valid()?;
            let erased = self
                .service
                .erase_address(email, message.suppress, actor(&caller))
                .await?;
            Ok(proto::EraseAddressResponse {
                erased_invitation_count: count(erased.invitations),
                revoked_invitation_count: count(erased.revoked_invitations),
                canceled_message_count: count(erased.canceled_mails),
                erased_user_count: count(erased.users),
                nameless_user_count: count(erased.nameless_users),
                newly_suppressed: erased.is_newly_suppressed,
            })
        };
        self.admission.call(ERASE_ADDRESS, request, work).await
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
