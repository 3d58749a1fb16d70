//! `DirectoryService`: what other systems tell of organizations, users and memberships.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::gate::{Gate, Pace, organization, require_every_organization};
use crate::grpc::convert::fields;
use crate::grpc::convert::{directory, times};
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::directory_service_server::DirectoryService;
use crate::proto::{
    DeleteMembershipRequest, DeleteMembershipResponse, DeleteOrganizationRequest,
    DeleteOrganizationResponse, DeleteUserRequest, DeleteUserResponse, EraseAddressRequest,
    EraseAddressResponse, GetMembershipRequest, GetMembershipResponse, ListMembershipsRequest,
    ListMembershipsResponse, ResumeOrganizationRequest, ResumeOrganizationResponse,
    SuspendOrganizationRequest, SuspendOrganizationResponse, UpsertMembershipsRequest,
    UpsertMembershipsResponse, UpsertOrganizationsRequest, UpsertOrganizationsResponse,
    UpsertUsersRequest, UpsertUsersResponse,
};
use crate::service::Service;

/// The service behind the protocol.
pub(crate) struct DirectoryApi {
    service: Service,
    gate: Gate,
    keyring: Arc<Keyring>,
}

impl DirectoryApi {
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
impl DirectoryService for DirectoryApi {
    async fn upsert_organizations(
        &self,
        request: Request<UpsertOrganizationsRequest>,
    ) -> Result<Response<UpsertOrganizationsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: UpsertOrganizationsRequest| {
            directory::check_length("organizations", message.organizations.len())
                .map_err(status::invalid)?;
            let inputs = message
                .organizations
                .into_iter()
                .map(directory::organization)
                .collect();
            let results = self
                .service
                .upsert_organizations(inputs, actor(&caller))
                .await;
            let (results, failed_count) = directory::upserted(results?);
            Ok(UpsertOrganizationsResponse {
                results,
                failed_count,
            })
        };
        self.gate
            .pass(
                "UpsertOrganizations",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn upsert_users(
        &self,
        request: Request<UpsertUsersRequest>,
    ) -> Result<Response<UpsertUsersResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: UpsertUsersRequest| {
            require_every_organization(&caller)?;
            directory::check_length("users", message.users.len()).map_err(status::invalid)?;
            let inputs = message.users.iter().map(directory::user).collect();
            let results = self.service.upsert_users(inputs, actor(&caller)).await;
            let (results, failed_count) = directory::upserted(results?);
            Ok(UpsertUsersResponse {
                results,
                failed_count,
            })
        };
        self.gate
            .pass(
                "UpsertUsers",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn upsert_memberships(
        &self,
        request: Request<UpsertMembershipsRequest>,
    ) -> Result<Response<UpsertMembershipsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: UpsertMembershipsRequest| {
            directory::check_length("memberships", message.memberships.len())
                .map_err(status::invalid)?;
            let inputs = message
                .memberships
                .into_iter()
                .map(directory::membership_input)
                .collect();
            let results = self
                .service
                .upsert_memberships(inputs, actor(&caller))
                .await;
            let (results, failed_count) = directory::upserted(results?);
            Ok(UpsertMembershipsResponse {
                results,
                failed_count,
            })
        };
        self.gate
            .pass(
                "UpsertMemberships",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn get_membership(
        &self,
        request: Request<GetMembershipRequest>,
    ) -> Result<Response<GetMembershipResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: GetMembershipRequest| {
            let (organization_id, user_id) = fields::both(
                organization(&caller, &message.organization_id)?,
                fields::user_id(&message.user_id),
            )
            .map_err(status::invalid)?;
            let found = self.service.get_membership(organization_id, user_id).await;
            let membership = directory::membership(found?);
            Ok(GetMembershipResponse {
                membership: Some(membership),
            })
        };
        self.gate
            .pass(
                "GetMembership",
                Scope::DirectoryRead,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn list_memberships(
        &self,
        request: Request<ListMembershipsRequest>,
    ) -> Result<Response<ListMembershipsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ListMembershipsRequest| {
            let list = format!("memberships\0{}", message.organization_id).into_bytes();
            let (organization_id, (page_size, after)) = fields::both(
                organization(&caller, &message.organization_id)?,
                fields::both(
                    fields::page_size(message.page_size),
                    fields::cursor(&self.keyring, &list, &message.page_token, |cursor| {
                        String::from_utf8(cursor).ok()
                    }),
                ),
            )
            .map_err(status::invalid)?;
            let after = after.unwrap_or_default();
            let found = self
                .service
                .list_memberships(organization_id, after, page_size)
                .await;
            let (page, has_more) = found?;
            let next_page_token = page
                .last()
                .filter(|_| has_more)
                .map(|last| page_token::seal(&self.keyring, &list, last.user_id.as_bytes()))
                .unwrap_or_default();
            let memberships = page.into_iter().map(directory::membership).collect();
            Ok(ListMembershipsResponse {
                memberships,
                next_page_token,
            })
        };
        self.gate
            .pass(
                "ListMemberships",
                Scope::DirectoryRead,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<DeleteOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeleteOrganizationRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let organization_id = organization_id.map_err(status::invalid)?;
            let deleted = self
                .service
                .delete_organization(organization_id, actor(&caller))
                .await?;
            Ok(DeleteOrganizationResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
                deleted_membership_count: count(deleted.memberships),
            })
        };
        self.gate
            .pass(
                "DeleteOrganization",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn suspend_organization(
        &self,
        request: Request<SuspendOrganizationRequest>,
    ) -> Result<Response<SuspendOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuspendOrganizationRequest| {
            require_every_organization(&caller)?;
            let organization_id = fields::organization_id(&message.organization_id);
            let organization_id = organization_id.map_err(status::invalid)?;
            let suspended_at = self
                .service
                .suspend_organization(organization_id, actor(&caller))
                .await?;
            Ok(SuspendOrganizationResponse {
                suspend_time: Some(times::timestamp(suspended_at)),
            })
        };
        self.gate
            .pass(
                "SuspendOrganization",
                Scope::DirectoryWrite,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn resume_organization(
        &self,
        request: Request<ResumeOrganizationRequest>,
    ) -> Result<Response<ResumeOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ResumeOrganizationRequest| {
            require_every_organization(&caller)?;
            let organization_id = fields::organization_id(&message.organization_id);
            let organization_id = organization_id.map_err(status::invalid)?;
            let released = self
                .service
                .resume_organization(organization_id, actor(&caller))
                .await?;
            Ok(ResumeOrganizationResponse {
                released_mail_count: count(released),
            })
        };
        self.gate
            .pass(
                "ResumeOrganization",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeleteUserRequest| {
            require_every_organization(&caller)?;
            let user_id = fields::user_id(&message.user_id).map_err(status::invalid)?;
            let deleted = self.service.delete_user(user_id, actor(&caller)).await?;
            Ok(DeleteUserResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
                deleted_membership_count: count(deleted.memberships),
                deleted_email_count: count(deleted.emails),
            })
        };
        self.gate
            .pass(
                "DeleteUser",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn delete_membership(
        &self,
        request: Request<DeleteMembershipRequest>,
    ) -> Result<Response<DeleteMembershipResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeleteMembershipRequest| {
            let (organization_id, user_id) = fields::both(
                organization(&caller, &message.organization_id)?,
                fields::user_id(&message.user_id),
            )
            .map_err(status::invalid)?;
            let deleted = self
                .service
                .delete_membership(organization_id, user_id, actor(&caller))
                .await?;
            Ok(DeleteMembershipResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
            })
        };
        self.gate
            .pass(
                "DeleteMembership",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn erase_address(
        &self,
        request: Request<EraseAddressRequest>,
    ) -> Result<Response<EraseAddressResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: EraseAddressRequest| {
            require_every_organization(&caller)?;
            let email = fields::email(&message.email).map_err(status::invalid)?;
            let erased = self
                .service
                .erase_address(email, message.suppress, actor(&caller))
                .await?;
            Ok(EraseAddressResponse {
                erased_invitation_count: count(erased.invitations),
                revoked_invitation_count: count(erased.revoked_invitations),
                canceled_mail_count: count(erased.canceled_mails),
                erased_user_count: count(erased.users),
                nameless_user_count: count(erased.nameless_users),
                newly_suppressed: erased.is_suppressed_anew,
            })
        };
        self.gate
            .pass(
                "EraseAddress",
                Scope::DirectoryWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
