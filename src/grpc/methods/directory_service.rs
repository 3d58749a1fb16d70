//! `DirectoryService`: the organizations, users and memberships that callers store.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::keyring::Keyring;
use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::control::AdmissionControl;
use crate::grpc::admission::method::Method;
use crate::grpc::admission::permission::{organization, require_every_organization};
use crate::grpc::convert::fields::{self, Fields as _};
use crate::grpc::convert::list_token::ListToken;
use crate::grpc::convert::viewer::Viewer;
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
use crate::service::{
    DeleteMembership, DeleteOrganization, DeleteUser, GetMembership, ListMemberships,
    ResumeOrganization, Service, SuspendOrganization, UpsertMemberships, UpsertOrganizations,
    UpsertUsers,
};

const UPSERT_ORGANIZATIONS: Method = Method::bulk("UpsertOrganizations", Scope::DirectoryWrite);
const UPSERT_USERS: Method = Method::bulk("UpsertUsers", Scope::DirectoryWrite);
const UPSERT_MEMBERSHIPS: Method = Method::bulk("UpsertMemberships", Scope::DirectoryWrite);
const GET_MEMBERSHIP: Method = Method::quick("GetMembership", Scope::DirectoryRead);
const LIST_MEMBERSHIPS: Method = Method::quick("ListMemberships", Scope::DirectoryRead);
const DELETE_ORGANIZATION: Method = Method::bulk("DeleteOrganization", Scope::DirectoryWrite);
const SUSPEND_ORGANIZATION: Method = Method::quick("SuspendOrganization", Scope::DirectoryWrite);
const RESUME_ORGANIZATION: Method = Method::bulk("ResumeOrganization", Scope::DirectoryWrite);
const DELETE_USER: Method = Method::bulk("DeleteUser", Scope::DirectoryWrite);
const DELETE_MEMBERSHIP: Method = Method::bulk("DeleteMembership", Scope::DirectoryWrite);
const ERASE_ADDRESS: Method = Method::bulk("EraseAddress", Scope::DirectoryWrite);

/// `DirectoryService`.
pub(in crate::grpc) struct DirectoryApi {
    service: Service,
    admission: AdmissionControl,
    keyring: Arc<Keyring>,
}

impl DirectoryApi {
    pub(in crate::grpc) const fn new(
        service: Service,
        admission: AdmissionControl,
        keyring: Arc<Keyring>,
    ) -> Self {
        Self {
            service,
            admission,
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
            fields::list_length("organizations", message.organizations.len())
                .map_err(status::invalid)?;
            let inputs = message.organizations.into_iter();
            let upsert = UpsertOrganizations {
                inputs: inputs.map(directory::organization).collect(),
                actor: actor(&caller),
            };
            let (results, failed_count) = directory::upserted(self.service.run(upsert).await?);
            Ok(UpsertOrganizationsResponse {
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
        request: Request<UpsertUsersRequest>,
    ) -> Result<Response<UpsertUsersResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: UpsertUsersRequest| {
            require_every_organization(&caller)?;
            fields::list_length("users", message.users.len()).map_err(status::invalid)?;
            let upsert = UpsertUsers {
                inputs: message.users.iter().map(directory::user).collect(),
                actor: actor(&caller),
            };
            let (results, failed_count) = directory::upserted(self.service.run(upsert).await?);
            Ok(UpsertUsersResponse {
                results,
                failed_count,
            })
        };
        self.admission.call(UPSERT_USERS, request, work).await
    }

    async fn upsert_memberships(
        &self,
        request: Request<UpsertMembershipsRequest>,
    ) -> Result<Response<UpsertMembershipsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: UpsertMembershipsRequest| {
            fields::list_length("memberships", message.memberships.len())
                .map_err(status::invalid)?;
            let inputs = message.memberships.into_iter();
            let upsert = UpsertMemberships {
                inputs: inputs.map(directory::membership_input).collect(),
                actor: actor(&caller),
            };
            let (results, failed_count) = directory::upserted(self.service.run(upsert).await?);
            Ok(UpsertMembershipsResponse {
                results,
                failed_count,
            })
        };
        self.admission.call(UPSERT_MEMBERSHIPS, request, work).await
    }

    async fn get_membership(
        &self,
        request: Request<GetMembershipRequest>,
    ) -> Result<Response<GetMembershipResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: GetMembershipRequest| {
            let (organization_id, user_id) = (
                organization(&caller, &message.organization_id)?,
                fields::user_id(&message.user_id),
            )
                .all()
                .map_err(status::invalid)?;
            let get = GetMembership {
                organization_id,
                user_id,
            };
            let found = self.service.run(get).await?;
            Ok(GetMembershipResponse {
                membership: Some(Viewer::new(&caller).membership(found)),
            })
        };
        self.admission.call(GET_MEMBERSHIP, request, work).await
    }

    async fn list_memberships(
        &self,
        request: Request<ListMembershipsRequest>,
    ) -> Result<Response<ListMembershipsResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ListMembershipsRequest| {
            let query = ListMembershipsRequest {
                organization_id: message.organization_id.clone(),
                ..Default::default()
            };
            let token = ListToken::new(&self.keyring, "memberships", &query);
            let (organization_id, page_size, after) = (
                organization(&caller, &message.organization_id)?,
                fields::page_size(message.page_size),
                token.open(&message.page_token, |cursor| String::from_utf8(cursor).ok()),
            )
                .all()
                .map_err(status::invalid)?;
            let list = ListMemberships {
                organization_id,
                after: after.unwrap_or_default(),
                page_size,
            };
            let page = self.service.run(list).await?;
            let last_key = page.items.last().map(|last| last.user_id.as_bytes());
            let next_page_token = token.next(page.has_more, last_key);
            let viewer = Viewer::new(&caller);
            Ok(ListMembershipsResponse {
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
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<DeleteOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeleteOrganizationRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let delete = DeleteOrganization {
                organization_id: organization_id.map_err(status::invalid)?,
                actor: actor(&caller),
            };
            let deleted = self.service.run(delete).await?;
            Ok(DeleteOrganizationResponse {
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
        request: Request<SuspendOrganizationRequest>,
    ) -> Result<Response<SuspendOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: SuspendOrganizationRequest| {
            require_every_organization(&caller)?;
            let organization_id = fields::organization_id(&message.organization_id);
            let suspend = SuspendOrganization {
                organization_id: organization_id.map_err(status::invalid)?,
                actor: actor(&caller),
            };
            let suspended_at = self.service.run(suspend).await?;
            tracing::warn!("an organization is suspended");
            Ok(SuspendOrganizationResponse {
                suspend_time: Some(times::timestamp(suspended_at)),
            })
        };
        self.admission
            .call(SUSPEND_ORGANIZATION, request, work)
            .await
    }

    async fn resume_organization(
        &self,
        request: Request<ResumeOrganizationRequest>,
    ) -> Result<Response<ResumeOrganizationResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ResumeOrganizationRequest| {
            require_every_organization(&caller)?;
            let organization_id = fields::organization_id(&message.organization_id);
            let resume = ResumeOrganization {
                organization_id: organization_id.map_err(status::invalid)?,
                actor: actor(&caller),
            };
            let released = self.service.run(resume).await?;
            Ok(ResumeOrganizationResponse {
                released_mail_count: count(released),
            })
        };
        self.admission
            .call(RESUME_ORGANIZATION, request, work)
            .await
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeleteUserRequest| {
            require_every_organization(&caller)?;
            let delete = DeleteUser {
                user_id: fields::user_id(&message.user_id).map_err(status::invalid)?,
                actor: actor(&caller),
            };
            let deleted = self.service.run(delete).await?;
            Ok(DeleteUserResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
                deleted_membership_count: count(deleted.memberships),
                deleted_email_count: count(deleted.emails),
            })
        };
        self.admission.call(DELETE_USER, request, work).await
    }

    async fn delete_membership(
        &self,
        request: Request<DeleteMembershipRequest>,
    ) -> Result<Response<DeleteMembershipResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeleteMembershipRequest| {
            let (organization_id, user_id) = (
                organization(&caller, &message.organization_id)?,
                fields::user_id(&message.user_id),
            )
                .all()
                .map_err(status::invalid)?;
            let delete = DeleteMembership {
                organization_id,
                user_id,
                actor: actor(&caller),
            };
            let deleted = self.service.run(delete).await?;
            Ok(DeleteMembershipResponse {
                revoked_invitation_count: count(deleted.revoked_invitations),
            })
        };
        self.admission.call(DELETE_MEMBERSHIP, request, work).await
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
                newly_suppressed: erased.is_newly_suppressed,
            })
        };
        self.admission.call(ERASE_ADDRESS, request, work).await
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
