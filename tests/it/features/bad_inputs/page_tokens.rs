//! Page tokens: changed, cut, made up, and page sizes that are none.

use invitations::proto::{ListMembershipsRequest, ListRequest, SuppressionServiceListRequest};
use tonic::Code;

use super::assert_status;
use crate::support::{ACME, World};

#[tokio::test]
async fn a_page_token_that_is_not_ours_is_refused_by_every_list() {
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
            organization_id: ACME.to_owned(),
            page_token: token.clone(),
            ..Default::default()
        };
        let suppressions = SuppressionServiceListRequest {
            page_token: token.clone(),
            ..Default::default()
        };
        let refused = (Code::InvalidArgument, "PAGE_TOKEN_INVALID");
        let answer = world.directory().list_memberships(memberships).await;
        assert_status(answer, refused.0, refused.1, &token);
        let answer = world.client().list(invitations).await;
        assert_status(answer, refused.0, refused.1, &token);
        let answer = world.suppressions().list(suppressions).await;
        assert_status(answer, refused.0, refused.1, &token);
    }
}

#[tokio::test]
async fn a_page_has_no_negative_size_and_no_more_than_a_thousand() {
    let world = World::start().await;
    let request = |page_size| ListMembershipsRequest {
        organization_id: ACME.to_owned(),
        page_size,
        ..Default::default()
    };
    for size in [-1, i32::MIN] {
        let answer = world.directory().list_memberships(request(size)).await;
        assert_status(answer, Code::InvalidArgument, "FIELD_INVALID", "");
    }
    let answer = world.directory().list_memberships(request(i32::MAX)).await;
    assert_eq!(answer.unwrap().into_inner().memberships.len(), 2);
}
