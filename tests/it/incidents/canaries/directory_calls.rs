//! Calls about organizations, users, memberships and suppressions, and those of operators.

use invitations::proto::{
    AddSuppressionsRequest, AddSuppressionsResponse, BulkDeleteMembershipsResponse,
    BulkDeleteUsersResponse, DeleteMembershipResponse, DeleteOrganizationRequest,
    DeleteOrganizationResponse, DeleteUserRequest, DeleteUserResponse, EraseAddressRequest,
    EraseAddressResponse, GetMembershipResponse, GetOrganizationRequest, GetOrganizationResponse,
    GetUserRequest, GetUserResponse, LiftSuppressionsRequest, LiftSuppressionsResponse,
    ListAuditEventsRequest, ListAuditEventsResponse, ListMembershipsRequest,
    ListMembershipsResponse, ListOrganizationsRequest, ListOrganizationsResponse,
    ListSuppressionsRequest, ListSuppressionsResponse, ListUsersRequest, ListUsersResponse,
    Membership, Organization, ResumeOrganizationRequest, ResumeOrganizationResponse,
    SuspendOrganizationRequest, SuspendOrganizationResponse, UpsertMembershipsRequest,
    UpsertMembershipsResponse, UpsertOrganizationsRequest, UpsertOrganizationsResponse,
    UpsertUsersRequest, UpsertUsersResponse,
};

use super::canary_deployment::CanaryDeployment;
use crate::support::directory::{membership, organization, user};
use crate::support::{
    ACME, OTHER, bulk_delete_memberships_request, bulk_delete_users_request,
    delete_membership_request, get_membership_request, metadata,
};

impl CanaryDeployment {
    pub(super) async fn upsert_directory(&mut self) {
        let organizations = [ACME, OTHER].map(|id| Organization {
            redirect_origins: vec!["https://app.example.com".to_owned()],
            support_email: Some("qzsupport@example.com".to_owned()),
            ..organization(id, "Qzorgname")
        });
        let request = UpsertOrganizationsRequest {
            organizations: organizations.into(),
            ..Default::default()
        };
        let response: UpsertOrganizationsResponse = self
            .call("DirectoryService/UpsertOrganizations", request)
            .await;
        assert_eq!(response.failed_count, 0);
        let invalid_name = "Qzusername https://qzmalformed.example";
        let users = vec![
            user("ada", "Qzinviter", &["qzadalocal@qzadadomain.example"]),
            user("gone", "Qzusername", &["qzlocal9@example.com"]),
            user("bad", invalid_name, &["qzmalformed"]),
        ];
        let request = UpsertUsersRequest {
            users,
            ..Default::default()
        };
        let response: UpsertUsersResponse =
            self.call("DirectoryService/UpsertUsers", request).await;
        assert_eq!(response.failed_count, 1);
        let memberships = ["ada", "gone"].map(|user_id| Membership {
            public_metadata: Some(metadata("qzmetaname", "qzpublicvalue")),
            private_metadata: Some(metadata("qzmetaname", "qzprivatevalue")),
            ..membership(ACME, user_id, "admin")
        });
        let request = UpsertMembershipsRequest {
            memberships: memberships.into(),
            ..Default::default()
        };
        let response: UpsertMembershipsResponse = self
            .call("DirectoryService/UpsertMemberships", request)
            .await;
        assert_eq!(response.failed_count, 0);
    }

    /// Suppresses an address, lists it, and lifts the suppression.
    pub(super) async fn suppress_addresses(&mut self) {
        let valid_email = "qzlocal3@qzdomain3.example".to_owned();
        let emails = vec![valid_email.clone(), "qzmalformed".to_owned()];
        let add = AddSuppressionsRequest {
            suppressions: crate::support::requests::new_suppressions(emails.clone(), None),
            ..Default::default()
        };
        self.call::<AddSuppressionsResponse>("SuppressionService/AddSuppressions", add)
            .await;
        let list = ListSuppressionsRequest {
            email: valid_email,
            ..Default::default()
        };
        self.call::<ListSuppressionsResponse>("SuppressionService/ListSuppressions", list)
            .await;
        let lift = LiftSuppressionsRequest {
            emails,
            ..Default::default()
        };
        self.call::<LiftSuppressionsResponse>("SuppressionService/LiftSuppressions", lift)
            .await;
    }

    /// Reads organizations, users and memberships.
    pub(super) async fn read_directory(&mut self) {
        let get = GetOrganizationRequest {
            organization_id: ACME.to_owned(),
        };
        self.call::<GetOrganizationResponse>("DirectoryService/GetOrganization", get)
            .await;
        let list = ListOrganizationsRequest::default();
        self.call::<ListOrganizationsResponse>("DirectoryService/ListOrganizations", list)
            .await;
        let get = GetUserRequest {
            user_id: "gone".to_owned(),
        };
        self.call::<GetUserResponse>("DirectoryService/GetUser", get)
            .await;
        let list = ListUsersRequest {
            verified_email: "qzlocal9@example.com".to_owned(),
            ..Default::default()
        };
        self.call::<ListUsersResponse>("DirectoryService/ListUsers", list)
            .await;
        let get = get_membership_request("new");
        self.call::<GetMembershipResponse>("DirectoryService/GetMembership", get)
            .await;
        let list = ListMembershipsRequest {
            organization_id: ACME.to_owned(),
            ..Default::default()
        };
        self.call::<ListMembershipsResponse>("DirectoryService/ListMemberships", list)
            .await;
    }

    /// Deletes memberships, users and an organization, one by one and many in one call.
    pub(super) async fn delete_from_directory(&mut self) {
        let delete = delete_membership_request("gone");
        self.call::<DeleteMembershipResponse>("DirectoryService/DeleteMembership", delete)
            .await;
        let delete = DeleteUserRequest {
            user_id: "gone".to_owned(),
            ..Default::default()
        };
        self.call::<DeleteUserResponse>("DirectoryService/DeleteUser", delete)
            .await;
        let delete = bulk_delete_users_request(&["gone", "qzmalformed qz"]);
        self.call::<BulkDeleteUsersResponse>("DirectoryService/BulkDeleteUsers", delete)
            .await;
        let delete = bulk_delete_memberships_request(&[(ACME, "gone"), ("qzmalformed qz", "gone")]);
        self.call::<BulkDeleteMembershipsResponse>(
            "DirectoryService/BulkDeleteMemberships",
            delete,
        )
        .await;
        let delete = DeleteOrganizationRequest {
            organization_id: OTHER.to_owned(),
            ..Default::default()
        };
        self.call::<DeleteOrganizationResponse>("DirectoryService/DeleteOrganization", delete)
            .await;
    }

    /// Reads the audit log, suspends and resumes an organization, and erases an address.
    pub(super) async fn call_as_operator(&mut self) {
        let list = ListAuditEventsRequest::default();
        self.call::<ListAuditEventsResponse>("AuditService/ListAuditEvents", list)
            .await;
        let suspend = SuspendOrganizationRequest {
            organization_id: ACME.to_owned(),
            ..Default::default()
        };
        self.call::<SuspendOrganizationResponse>("DirectoryService/SuspendOrganization", suspend)
            .await;
        let resume = ResumeOrganizationRequest {
            organization_id: ACME.to_owned(),
            ..Default::default()
        };
        self.call::<ResumeOrganizationResponse>("DirectoryService/ResumeOrganization", resume)
            .await;
        let erase = EraseAddressRequest {
            email: "qzlocal7@qzdomain7.example".to_owned(),
            suppress: true,
            ..Default::default()
        };
        self.call::<EraseAddressResponse>("DirectoryService/EraseAddress", erase)
            .await;
    }
}
