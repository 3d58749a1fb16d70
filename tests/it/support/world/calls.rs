//! Calls as the caller `all`. All but [`World::accept`] and [`World::decline`] expect success.

use invitations::proto::{
    AcceptResponse, BulkCreateRequest, BulkCreateResponse, Delivery, Invitation, ListRequest,
    ListResponse, Organization, SuppressionServiceAddRequest, SuppressionServiceLiftRequest,
};
use tonic::{Response, Status};

use super::World;
use crate::support::directory::{upsert_membership, upsert_organizations, upsert_user};
use crate::support::requests::{
    accept_request, decline_request, get_request, invite_request, resend_request, revoke_request,
};
use crate::support::responses::created;

impl World {
    pub(crate) async fn bulk_create(&self, request: BulkCreateRequest) -> BulkCreateResponse {
        let response = self.client().bulk_create(request).await;
        response.unwrap().into_inner()
    }

    /// Invites addresses into ACME on behalf of `ada`.
    pub(crate) async fn invite(&self, emails: &[impl AsRef<str>]) -> BulkCreateResponse {
        self.bulk_create(invite_request(emails)).await
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

    pub(crate) async fn add_user(&self, id: &str, name: &str, emails: &[&str]) {
        upsert_user(&self.directory(), id, name, emails).await;
    }

    pub(crate) async fn add_member(&self, organization_id: &str, user_id: &str, role: &str) {
        upsert_membership(&self.directory(), organization_id, user_id, role).await;
    }

    pub(crate) async fn upsert_organization(&self, organization: Organization) {
        upsert_organizations(&self.directory(), vec![organization]).await;
    }

    /// Suppresses addresses for one organization, or for all if the id is empty.
    pub(crate) async fn suppress(&self, organization_id: &str, emails: &[&str]) {
        let request = SuppressionServiceAddRequest {
            emails: emails.iter().map(|email| (*email).to_owned()).collect(),
            organization_id: organization_id.to_owned(),
            expire_time: None,
        };
        let response = self.suppressions().add(request).await.unwrap();
        assert_eq!(response.into_inner().failed_count, 0);
    }

    /// Lifts the suppression of an address for one organization, or the one for all if the id is empty.
    pub(crate) async fn lift_suppression(&self, organization_id: &str, email: &str) {
        let request = SuppressionServiceLiftRequest {
            emails: vec![email.to_owned()],
            organization_id: organization_id.to_owned(),
        };
        let response = self.suppressions().lift(request).await.unwrap();
        assert_eq!(response.into_inner().failed_count, 0);
    }
}
