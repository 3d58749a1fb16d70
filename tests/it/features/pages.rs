//! Pages of a list: each invitation appears once, and a page token is valid for its list only.

use invitations::proto::{DeliveryState, InvitationState, ListRequest};
use time::Duration;
use tonic::Code;

use crate::features::list::{invite_without_email, listed_emails};
use crate::support::{OTHER, World, list_request, status_reason};

#[tokio::test]
async fn pages_show_each_of_2500_invitations_once_while_new_ones_are_created() {
    let world = World::start().await;
    let names: Vec<String> = (0..2_500)
        .map(|number| format!("old{number}@b.co"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Several batches, so that pages do not end where batches end.
    for batch in names.chunks(700) {
        invite_without_email(&world, batch).await;
        world.clock.advance(Duration::seconds(1));
    }
    let mut newest_first: Vec<String> = names.iter().rev().map(|name| (*name).to_owned()).collect();
    for (page_size, expected_size) in [(0, 100), (999, 999), (1_000_000, 1_000)] {
        let expected = newest_first.clone();
        let mut request = ListRequest {
            page_size,
            ..list_request()
        };
        let (mut listed, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = world.list(request.clone()).await;
            sizes.push(page.invitations.len());
            listed.extend(page.invitations.into_iter().map(|found| found.email));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            let new = format!("new{page_size}-{}@b.co", listed.len());
            invite_without_email(&world, &[&new]).await;
            newest_first.insert(0, new);
        }
        assert!(
            listed == expected,
            "not each once, or one that was created later"
        );
        let last = sizes.pop().unwrap();
        assert!(sizes.iter().all(|size| *size == expected_size) && last <= expected_size);
    }
    let request = ListRequest {
        page_size: -1,
        ..list_request()
    };
    let status = world.client().list(request.clone()).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status_reason(&status), "FIELD_INVALID");
}

#[tokio::test]
async fn a_page_token_is_valid_only_for_the_list_that_returned_it() {
    let world = World::start().await;
    let batch_id = invite_without_email(&world, &["1@b.co", "2@b.co", "3@b.co"]).await;
    let first = ListRequest {
        page_size: 1,
        filter: Some(invitations::proto::InvitationFilter {
            states: vec![InvitationState::Pending.into()],
            ..Default::default()
        }),
        ..list_request()
    };
    let token = world.list(first.clone()).await.next_page_token;
    let next = ListRequest {
        page_token: token.clone(),
        ..first
    };
    let resized = ListRequest {
        page_size: 2,
        ..next.clone()
    };
    assert_eq!(listed_emails(&world, &resized).await, ["2@b.co", "1@b.co"]);

    let changed = |change: fn(&mut String)| {
        let mut request = next.clone();
        change(&mut request.page_token);
        request
    };
    let with_other_filter = |change: &dyn Fn(&mut ListRequest)| {
        let mut request = next.clone();
        change(&mut request);
        request
    };
    let requests = [
        changed(|token| token.truncate(20)),
        changed(|token| token.push('A')),
        changed(|token| {
            let first = if token.remove(0) == 'A' { 'B' } else { 'A' };
            token.insert(0, first);
        }),
        changed(|token| "x".clone_into(token)),
        changed(|token| "\u{1f600}".clone_into(token)),
        with_other_filter(&|request| filter_of(request).states.clear()),
        with_other_filter(&|request| {
            filter_of(request).states = vec![InvitationState::Accepted.into()];
        }),
        with_other_filter(&|request| {
            filter_of(request).delivery_states = vec![DeliveryState::NotRequested.into()];
        }),
        with_other_filter(&|request| filter_of(request).email = Some("1@b.co".to_owned())),
        with_other_filter(&|request| filter_of(request).inviter_user_id = Some("ada".to_owned())),
        with_other_filter(&|request| filter_of(request).batch_id = Some(batch_id.clone())),
        with_other_filter(&|request| OTHER.clone_into(&mut request.organization_id)),
    ];
    for (number, request) in requests.iter().enumerate() {
        let status = world.client().list(request.clone()).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{number}");
        assert_eq!(status_reason(&status), "PAGE_TOKEN_INVALID", "{number}");
    }
}

fn filter_of(request: &mut ListRequest) -> &mut invitations::proto::InvitationFilter {
    request.filter.get_or_insert_default()
}
