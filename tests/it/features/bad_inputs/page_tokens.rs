//! Page tokens that are changed, truncated or invented, and invalid page sizes.

use invitations::proto::{ListMembershipsRequest, ListRequest, ListSuppressionsRequest};
use tonic::Code;

use super::assert_call_refused;
use crate::support::{ACME, World, list_request};

#[tokio::test]
async fn every_list_refuses_a_page_token_that_the_service_did_not_issue() {
    let world = World::start().await;
    let request = ListMembershipsRequest {
        organization_id: ACME.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let page = world.directory().list_memberships(request.clone()).await;
    let genuine = page.unwrap().into_inner().next_page_token;
    let mut tokens: Vec<String> = [
        "canary",
        "canary\0",
        "\u{1f600}\u{1f600}",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "../../canary",
    ]
    .map(str::to_owned)
    .into();
    tokens.push("A".repeat(1 << 20));
    tokens.push(format!("{genuine}="));
    tokens.push(format!("{genuine} "));
    tokens.push(genuine[..genuine.len() - 1].to_owned());
    for at in 0..genuine.len() {
        let other = if genuine.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        tokens.push(format!("{}{other}{}", &genuine[..at], &genuine[at + 1..]));
    }
    for token in tokens {
        let memberships = ListMembershipsRequest {
            page_token: token.clone(),
            ..request.clone()
        };
        let invitations = ListRequest {
            page_token: token.clone(),
            ..list_request()
        };
        let suppressions = ListSuppressionsRequest {
            page_token: token.clone(),
            ..Default::default()
        };
        let refused = (Code::InvalidArgument, "PAGE_TOKEN_INVALID");
        let answer = world.directory().list_memberships(memberships).await;
        assert_call_refused(answer, refused.0, refused.1, &token);
        let answer = world.client().list(invitations).await;
        assert_call_refused(answer, refused.0, refused.1, &token);
        let answer = world.suppressions().list_suppressions(suppressions).await;
        assert_call_refused(answer, refused.0, refused.1, &token);
    }
}

#[tokio::test]
async fn a_negative_page_size_is_refused_and_a_large_one_is_capped() {
    let world = World::start().await;
    let request = |page_size| ListMembershipsRequest {
        organization_id: ACME.to_owned(),
        page_size,
        ..Default::default()
    };
    for size in [-1, i32::MIN] {
        let answer = world.directory().list_memberships(request(size)).await;
        assert_call_refused(answer, Code::InvalidArgument, "FIELD_INVALID", "");
    }
    let answer = world.directory().list_memberships(request(i32::MAX)).await;
    assert_eq!(answer.unwrap().into_inner().memberships.len(), 2);
}
