//! The directory of the fake server. It records what it is asked, and knows two users.

use tonic::{Request, Response, Status};

use super::service::{FakeServer, check_token};
use crate::proto::directory_service_server::DirectoryService;
use crate::proto::{
    BulkDeleteUsersRequest, BulkDeleteUsersResponse, DeleteOrganizationRequest,
    DeleteOrganizationResponse, DeleteOutcome, DeleteResult, EraseAddressRequest,
    EraseAddressResponse, ErrorReason, GetOrganizationRequest, GetOrganizationResponse, ItemError,
    ListUsersRequest, ListUsersResponse, Organization, Role, UpsertMembershipsRequest,
    UpsertMembershipsResponse, UpsertOrganizationsRequest, UpsertOrganizationsResponse,
    UpsertOutcome, UpsertResult, UpsertUsersRequest, UpsertUsersResponse, User,
};

fn updated(count: usize) -> Vec<UpsertResult> {
    let result = UpsertResult {
        outcome: UpsertOutcome::Updated.into(),
        ..Default::default()
    };
    vec![result; count]
}

#[tonic::async_trait]
impl DirectoryService for FakeServer {
    async fn upsert_organizations(
        &self,
        request: Request<UpsertOrganizationsRequest>,
    ) -> Result<Response<UpsertOrganizationsResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        Ok(Response::new(UpsertOrganizationsResponse {
            results: updated(request.get_ref().organizations.len()),
            failed_count: 0,
        }))
    }

    async fn upsert_users(
        &self,
        request: Request<UpsertUsersRequest>,
    ) -> Result<Response<UpsertUsersResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        Ok(Response::new(UpsertUsersResponse {
            results: updated(request.get_ref().users.len()),
            failed_count: 0,
        }))
    }

    async fn upsert_memberships(
        &self,
        request: Request<UpsertMembershipsRequest>,
    ) -> Result<Response<UpsertMembershipsResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        Ok(Response::new(UpsertMembershipsResponse {
            results: updated(request.get_ref().memberships.len()),
            failed_count: 0,
        }))
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        check_token(&request)?;
        Ok(Response::new(GetOrganizationResponse {
            organization: Some(Organization {
                id: request.into_inner().organization_id,
                name: Some("Acme".to_owned()),
                roles: vec![Role {
                    id: "admin".to_owned(),
                    can_invite: true,
                    ..Default::default()
                }],
                create_time: Some(prost_types::Timestamp::default()),
                ..Default::default()
            }),
        }))
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        check_token(&request)?;
        let (id, next) = match request.get_ref().page_token.as_str() {
            "" => ("u-1", "more"),
            _ => ("u-2", ""),
        };
        Ok(Response::new(ListUsersResponse {
            users: vec![User {
                id: id.to_owned(),
                ..Default::default()
            }],
            next_page_token: next.to_owned(),
        }))
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<DeleteOrganizationResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        Ok(Response::new(DeleteOrganizationResponse {
            revoked_invitation_count: 7,
            deleted_membership_count: 3,
        }))
    }

    /// `u-1` is deleted, `u-2` is missing, and others are refused.
    async fn bulk_delete_users(
        &self,
        request: Request<BulkDeleteUsersRequest>,
    ) -> Result<Response<BulkDeleteUsersResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        let results = request.get_ref().user_ids.iter().map(|id| {
            let outcome = match id.as_str() {
                "u-1" => DeleteOutcome::Deleted,
                "u-2" => DeleteOutcome::Missing,
                _ => DeleteOutcome::Failed,
            };
            DeleteResult {
                outcome: outcome.into(),
                error: (outcome == DeleteOutcome::Failed).then(|| ItemError {
                    reason: ErrorReason::FieldInvalid.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }
        });
        Ok(Response::new(BulkDeleteUsersResponse {
            results: results.collect(),
            failed_count: 1,
            revoked_invitation_count: 5,
            deleted_membership_count: 2,
        }))
    }

    async fn erase_address(
        &self,
        request: Request<EraseAddressRequest>,
    ) -> Result<Response<EraseAddressResponse>, Status> {
        check_token(&request)?;
        self.requests.add(request.get_ref());
        Ok(Response::new(EraseAddressResponse {
            erased_invitation_count: 4,
            ..Default::default()
        }))
    }
}
