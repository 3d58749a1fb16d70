//! Invitations that a test creates through a process of a [`Deployment`], and their messages.

use invitations::proto::{BulkCreateRequest, DeliveryState, ListRequest};
use tonic::transport::Channel;

use crate::support::deployment::{Deployment, client};
use crate::support::links::token_of_link;
use crate::support::requests::{
    create_request, invite_request, item_without_email, list_request, numbered_emails,
};
use crate::support::responses::created;

/// Invites fifty people. Returns their addresses, sorted.
pub(crate) async fn invite_fifty(channel: &Channel) -> Vec<String> {
    let emails = numbered_emails("p", "b.co", 10..60);
    let request = invite_request(&emails);
    let answer = client(channel).bulk_create(request).await.unwrap();
    assert_eq!(answer.into_inner().succeeded_count, 50);
    emails
}

/// Creates an invitation without an email. Returns the token of its link.
pub(crate) async fn invite_with_link(channel: &Channel, email: &str) -> String {
    let request = BulkCreateRequest {
        return_link: true,
        ..create_request(vec![item_without_email(email)])
    };
    let answer = client(channel).bulk_create(request).await.unwrap();
    let result = answer.into_inner().results.remove(0);
    created(&result);
    token_of_link(&result.link)
}

/// The number of invitations of ACME in a delivery state.
pub(crate) async fn count_in_delivery_state(channel: &Channel, state: DeliveryState) -> usize {
    let request = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            delivery_states: vec![state.into()],
            ..Default::default()
        }),
        ..list_request()
    };
    let answer = client(channel).list(request).await.unwrap();
    answer.into_inner().invitations.len()
}

/// The recipient of each message that the relay received, sorted.
pub(crate) fn received_addresses(deployment: &Deployment) -> Vec<String> {
    let received = deployment.relay.received();
    let mut emails: Vec<String> = received
        .iter()
        .map(|message| message.address().to_owned())
        .collect();
    emails.sort_unstable();
    emails
}
