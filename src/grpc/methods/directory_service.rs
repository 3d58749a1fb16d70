//! `DirectoryService`: the organizations, users and memberships that callers store.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::api::Api;
use super::{directory_deletes, directory_reads};
use crate::domain::scope::Scope;
use crate::grpc::admission::control::Method;
use crate::grpc::admission::permission::{named_actor, require_every_organization};
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::{directory, times};
use crate::identity::Caller;
use crate::proto;
use crate::proto::directory_service_server::DirectoryService;
use crate::service::{
    PreviewErasure, ResumeOrganization, SuspendOrganization, UpsertMemberships,
    UpsertOrganizations, UpsertUsers,
};

const UPSERT_ORGANIZATIONS: Method = Method::bulk("UpsertOrganizations", Scope::DirectoryWrite);
const UPSERT_USERS: Method = Method::bulk("UpsertUsers", Scope::DirectoryWrite);
const UPSERT_MEMBERSHIPS: Method = Method::bulk("UpsertMemberships", Scope::DirectoryWrite);
const GET_ORGANIZATION: Method = Method::quick("GetOrganization", Scope::DirectoryRead);
const LIST_ORGANIZATIONS: Method =
    Method::quick("ListOrganizations", Scope::DirectoryRead).with_many_rows();
const GET_USER: Method = Method::quick("GetUser", Scope::DirectoryRead);
const LIST_USERS: Method = Method::quick("ListUsers", Scope::DirectoryRead).with_many_rows();
const GET_MEMBERSHIP: Method = Method::quick("GetMembership", Scope::DirectoryRead);
const LIST_MEMBERSHIPS: Method =
    Method::quick("ListMemberships", Scope::DirectoryRead).with_many_rows();
const DELETE_ORGANIZATION: Method = Method::bulk("DeleteOrganization", Scope::DirectoryAdmin);
const SUSPEND_ORGANIZATION: Method = Method::quick("SuspendOrganization", Scope::DirectoryAdmin);
const RESUME_ORGANIZATION: Method = Method::bulk("ResumeOrganization", Scope::DirectoryAdmin);
const DELETE_USER: Method = Method::bulk("DeleteUser", Scope::DirectoryAdmin);
const BULK_DELETE_USERS: Method = Method::bulk("BulkDeleteUsers", Scope::DirectoryAdmin);
const DELETE_MEMBERSHIP: Method = Method::bulk("DeleteMembership", Scope::DirectoryAdmin);
const BULK_DELETE_MEMBERSHIPS: Method =
    Method::bulk("BulkDeleteMemberships", Scope::DirectoryAdmin);
const ERASE_ADDRESS: Method = Method::bulk("EraseAddress", Scope::DirectoryAdmin);
/// All methods of the service.
pub(in crate::grpc) const METHODS: &[Method] = &[
    UPSERT_ORGANIZATIONS,
    UPSERT_USERS,
    UPSERT_MEMBERSHIPS,
    GET_ORGANIZATION,
    LIST_ORGANIZATIONS,
    GET_USER,
    LIST_USERS,
    GET_MEMBERSHIP,
    LIST_MEMBERSHIPS,
    DELETE_ORGANIZATION,
    SUSPEND_ORGANIZATION,
    RESUME_ORGANIZATION,
    DELETE_USER,
    BULK_DELETE_USERS,
    DELETE_MEMBERSHIP,
    BULK_DELETE_MEMBERSHIPS,
    ERASE_ADDRESS,
];

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
        request: Request<proto::GetOrganizationRequest>,
    ) -> Result<Response<proto::GetOrganizationResponse>, Status> {
        self.call(GET_ORGANIZATION, request, directory_reads::get_organization)
            .await
    }

    async fn list_organizations(
        &self,
        request: Request<proto::ListOrganizationsRequest>,
    ) -> Result<Response<proto::ListOrganizationsResponse>, Status> {
        self.call(
            LIST_ORGANIZATIONS,
            request,
            directory_reads::list_organizations,
        )
        .await
    }

    async fn get_user(
        &self,
        request: Request<proto::GetUserRequest>,
    ) -> Result<Response<proto::GetUserResponse>, Status> {
        self.call(GET_USER, request, directory_reads::get_user)
            .await
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        self.call(LIST_USERS, request, directory_reads::list_users)
            .await
    }

    async fn get_membership(
        &self,
        request: Request<proto::GetMembershipRequest>,
    ) -> Result<Response<proto::GetMembershipResponse>, Status> {
        self.call(GET_MEMBERSHIP, request, directory_reads::get_membership)
            .await
    }

    async fn list_memberships(
        &self,
        request: Request<proto::ListMembershipsRequest>,
    ) -> Result<Response<proto::ListMembershipsResponse>, Status> {
        self.call(LIST_MEMBERSHIPS, request, directory_reads::list_memberships)
            .await
    }

    async fn delete_organization(
        &self,
        request: Request<proto::DeleteOrganizationRequest>,
    ) -> Result<Response<proto::DeleteOrganizationResponse>, Status> {
        self.call(
            DELETE_ORGANIZATION,
            request,
            directory_deletes::delete_organization,
        )
        .await
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        self.call(DELETE_USER, request, directory_deletes::delete_user)
            .await
    }

    async fn bulk_delete_users(
        &self,
        request: Request<proto::BulkDeleteUsersRequest>,
    ) -> Result<Response<proto::BulkDeleteUsersResponse>, Status> {
        self.call(
            BULK_DELETE_USERS,
            request,
            directory_deletes::bulk_delete_users,
        )
        .await
    }

    async fn delete_membership(
        &self,
        request: Request<proto::DeleteMembershipRequest>,
    ) -> Result<Response<proto::DeleteMembershipResponse>, Status> {
        self.call(
            DELETE_MEMBERSHIP,
            request,
            directory_deletes::delete_membership,
        )
        .await
    }

    async fn bulk_delete_memberships(
        &self,
        request: Request<proto::BulkDeleteMembershipsRequest>,
    ) -> Result<Response<proto::BulkDeleteMembershipsResponse>, Status> {
        self.call(
            BULK_DELETE_MEMBERSHIPS,
            request,
            directory_deletes::bulk_delete_memberships,
        )
        .await
    }

    async fn suspend_organization(
        &self,
        request: Request<proto::SuspendOrganizationRequest>,
    ) -> Result<Response<proto::SuspendOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::SuspendOrganizationRequest| {
            require_every_organization(&caller)?;
            let (organization_id, actor) = (
                fields::organization_id(&message.organization_id),
                named_actor(&caller, &message.acting_user_id, &message.request_id),
            )
                .valid()?;
            let suspend = SuspendOrganization {
                organization_id,
                actor,
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
            let (organization_id, actor) = (
                fields::organization_id(&message.organization_id),
                named_actor(&caller, &message.acting_user_id, &message.request_id),
            )
                .valid()?;
            let resume = ResumeOrganization {
                organization_id,
                actor,
            };
            let released = self.service.run(resume).await?;
            Ok(proto::ResumeOrganizationResponse {
                released_message_count: directory::row_count(released),
            })
        };
        self.admission
            .call(RESUME_ORGANIZATION, request, work)
            .await
    }

    async fn erase_address(
        &self,
        request: Request<proto::EraseAddressRequest>,
    ) -> Result<Response<proto::EraseAddressResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: proto::EraseAddressRequest| {
            require_every_organization(&caller)?;
            let (email, actor) = (
                fields::email(&message.email),
                named_actor(&caller, &message.acting_user_id, &message.request_id),
            )
                .valid()?;
            let suppress = message.suppress;
            let erased = if message.validate_only {
                self.service.run(PreviewErasure { email, suppress }).await?
            } else {
                self.service.erase_address(email, suppress, actor).await?
            };
            Ok(proto::EraseAddressResponse {
                erased_invitation_count: directory::row_count(erased.invitations),
                revoked_invitation_count: directory::row_count(erased.revoked_invitations),
                canceled_message_count: directory::row_count(erased.canceled_mails),
                erased_user_count: directory::row_count(erased.users),
                nameless_user_count: directory::row_count(erased.nameless_users),
                newly_suppressed: erased.is_newly_suppressed,
            })
        };
        self.admission.call(ERASE_ADDRESS, request, work).await
    }
}
