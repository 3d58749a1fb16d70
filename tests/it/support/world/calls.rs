//! Calls as the caller `all`. Those that do not return a `Result` expect success.

use invitations::proto::{
    AcceptResponse, AddSuppressionsRequest, BulkCreateRequest, BulkCreateResponse,
    DeleteOrganizationResponse, Delivery, EraseAddressRequest, EraseAddressResponse, Invitation,
    LiftSuppressionsRequest, ListMembershipsRequest, ListRequest, ListResponse, Membership,
    NewInvitation, Organization, UpsertResult, User,
};
use tonic::{Response, Status};

use super::World;
use crate::support::directory::{self, assert_upserted, membership, user};
use crate::support::links::token_of_link;
use crate::support::requests::{
    accept_request, create_request, decline_request, delete_organization_request,
    get_membership_request, get_request, invite_request, numbered_emails, resend_request,
    revoke_request,
};
use crate::support::responses::{created, created_ids};

impl World {
    pub(crate) async fn bulk_create(&self, request: BulkCreateRequest) -> BulkCreateResponse {
        let response = self.client().bulk_create(request).await;
        response.unwrap().into_inner()
    }

    /// Invites addresses into ACME on behalf of `ada`.
    pub(crate) async fn invite(&self, emails: &[impl AsRef<str>]) -> BulkCreateResponse {
        self.bulk_create(invite_request(emails)).await
    }

    /// Creates one item. Returns the token of its link, which no email contains yet.
    pub(crate) async fn create_with_link(&self, item: NewInvitation) -> String {
        let request = BulkCreateRequest {
            return_link: true,
            ..create_request(vec![item])
        };
        let result = self.bulk_create(request).await.results.remove(0);
        created(&result);
        token_of_link(&result.link)
    }

    /// Invites `p0@DOMAIN`, `p1@DOMAIN` and so on. Returns the ids of the invitations.
    pub(crate) async fn invite_numbered(&self, domain: &str, count: usize) -> Vec<String> {
        let emails = numbered_emails("p", domain, 0..count);
        created_ids(&self.invite(&emails).await)
    }

    /// Invites one address and delivers the message. Returns the invitation and the token of its link.
    pub(crate) async fn invite_one(&mut self, email: &str) -> (Invitation, String) {
        let invitation = created(&self.invite(&[email]).await.results[0]);
        self.deliver_all().await;
        let token = self.mail_to(email).token();
        (invitation, token)
    }

    /// Reads an invitation of ACME.
    pub(crate) async fn get(&self, invitation_id: &str) -> Invitation {
        let response = self.client().get(get_request(invitation_id)).await;
        response.unwrap().into_inner().invitation.unwrap()
    }

    /// Reads the delivery of an invitation of ACME.
    pub(crate) async fn delivery(&self, invitation_id: &str) -> Delivery {
        self.get(invitation_id).await.delivery.unwrap()
    }

    pub(crate) async fn list(&self, request: ListRequest) -> ListResponse {
        let response = self.client().list(request).await;
        response.unwrap().into_inner()
    }

    /// Accepts as a user whose verified address is the given one.
    pub(crate) async fn accept(
        &self,
        token: &str,
        user_id: &str,
        email: &str,
    ) -> Result<AcceptResponse, Status> {
        let request = accept_request(token, user_id, email);
        let response = self.client().accept(request).await;
        response.map(Response::into_inner)
    }

    /// Declines without suppressing the address.
    pub(crate) async fn decline(&self, token: &str) -> Result<Invitation, Status> {
        let response = self.client().decline(decline_request(token)).await;
        response.map(|response| response.into_inner().invitation.unwrap())
    }

    /// Revokes an invitation of ACME on behalf of no user.
    pub(crate) async fn revoke(&self, invitation_id: &str) -> Invitation {
        let response = self.client().revoke(revoke_request(invitation_id)).await;
        response.unwrap().into_inner().invitation.unwrap()
    }

    /// Resends an invitation of ACME with the same link.
    pub(crate) async fn resend(&self, invitation_id: &str) -> Invitation {
        let response = self.client().resend(resend_request(invitation_id)).await;
        response.unwrap().into_inner().invitation.unwrap()
    }

    /// Upserts one user.
    pub(crate) async fn add_user(&self, id: &str, name: &str, emails: &[&str]) {
        assert_upserted(&self.upsert_users(vec![user(id, name, emails)]).await);
    }

    /// Upserts one membership.
    pub(crate) async fn add_member(&self, organization_id: &str, user_id: &str, role: &str) {
        let membership = membership(organization_id, user_id, role);
        assert_upserted(&self.upsert_memberships(vec![membership]).await);
    }

    /// Upserts one organization.
    pub(crate) async fn upsert_organization(&self, organization: Organization) {
        assert_upserted(&self.upsert_organizations(vec![organization]).await);
    }

    /// Upserts organizations, some of which may fail.
    pub(crate) async fn upsert_organizations(
        &self,
        organizations: Vec<Organization>,
    ) -> Vec<UpsertResult> {
        directory::upsert_organizations(&self.directory(), organizations).await
    }

    /// Upserts users, some of which may fail.
    pub(crate) async fn upsert_users(&self, users: Vec<User>) -> Vec<UpsertResult> {
        directory::upsert_users(&self.directory(), users).await
    }

    /// Upserts memberships, some of which may fail.
    pub(crate) async fn upsert_memberships(
        &self,
        memberships: Vec<Membership>,
    ) -> Vec<UpsertResult> {
        directory::upsert_memberships(&self.directory(), memberships).await
    }

    /// Erases an address, and suppresses it for all organizations if `suppress` is set.
    pub(crate) async fn erase_address(&self, email: &str, suppress: bool) -> EraseAddressResponse {
        let request = EraseAddressRequest {
            email: email.to_owned(),
            suppress,
            ..Default::default()
        };
        let response = self.directory().erase_address(request).await;
        response.unwrap().into_inner()
    }

    /// Reads a membership of ACME.
    pub(crate) async fn get_membership(&self, user_id: &str) -> Result<Membership, Status> {
        let request = get_membership_request(user_id);
        let response = self.directory().get_membership(request).await;
        response.map(|response| response.into_inner().membership.unwrap())
    }

    /// Reads the memberships of an organization. Fails if they do not fit on one page.
    pub(crate) async fn memberships(&self, organization_id: &str) -> Vec<Membership> {
        let request = ListMembershipsRequest {
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        let response = self.directory().list_memberships(request).await;
        let page = response.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.memberships
    }

    /// Deletes ACME.
    pub(crate) async fn delete_organization(&self) -> DeleteOrganizationResponse {
        let request = delete_organization_request();
        let response = self.directory().delete_organization(request).await;
        response.unwrap().into_inner()
    }

    /// Suppresses addresses for one organization, or for all if the id is empty.
    pub(crate) async fn suppress(&self, organization_id: &str, emails: &[&str]) {
        let request = AddSuppressionsRequest {
            organization_id: organization_id.to_owned(),
            suppressions: crate::support::requests::new_suppressions(
                emails.iter().map(|email| (*email).to_owned()).collect(),
                None,
            ),
            ..Default::default()
        };
        let response = self.suppressions().add_suppressions(request).await.unwrap();
        assert_eq!(response.into_inner().failed_count, 0);
    }

    /// Lifts the suppression of an address for one organization, or the one for all if the id is empty.
    pub(crate) async fn lift_suppression(&self, organization_id: &str, email: &str) {
        let request = LiftSuppressionsRequest {
            emails: vec![email.to_owned()],
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        let response = self
            .suppressions()
            .lift_suppressions(request)
            .await
            .unwrap();
        assert_eq!(response.into_inner().failed_count, 0);
    }
}
