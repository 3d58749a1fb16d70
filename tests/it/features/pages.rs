//! Pages of a list: each invitation once, and tokens that fit their list alone.

use invitations::proto::{DeliveryState, InvitationState, ListRequest};
use time::Duration;
use tonic::Code;

use crate::features::list::{invite_without_email, listed_emails};
use crate::support::{OTHER, World, list_request, reason};

#[tokio::test]
async fn pages_show_each_of_2500_once_while_new_ones_are_made() {
    let world = World::start().await;
    let names: Vec<String> = (0..2_500)
        .map(|number| format!("old{number}@b.co"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Not one batch, so that pages do not end where batches do.
    for batch in names.chunks(700) {
        invite_without_email(&world, batch).await;
        world.clock.advance(Duration::seconds(1));
    }
    let mut newest_first: Vec<String> = names.iter().rev().map(|name| (*name).to_owned()).collect();
    for (page_size, seen_size) in [(0, 100), (999, 999), (1_000_000, 1_000)] {
        let expected = newest_first.clone();
        let mut request = ListRequest {
            page_size,
            ..list_request()
        };
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = world.list(request.clone()).await;
            sizes.push(page.invitations.len());
            seen.extend(page.invitations.into_iter().map(|found| found.email));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            let new = format!("new{page_size}-{}@b.co", seen.len());
            invite_without_email(&world, &[&new]).await;
            newest_first.insert(0, new);
        }
        assert!(seen == expected, "each once, and none that came later");
        let last = sizes.pop().unwrap();
        assert!(sizes.iter().all(|size| *size == seen_size) && last <= seen_size);
    }
    let request = ListRequest {
        page_size: -1,
        ..list_request()
    };
    let status = world.client().list(request.clone()).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(Err::<(), _>(status)), "FIELD_INVALID");
}

#[tokio::test]
async fn a_page_token_opens_the_list_it_came_from_alone() {
    let world = World::start().await;
    let batch_id = invite_without_email(&world, &["1@b.co", "2@b.co", "3@b.co"]).await;
    let first = ListRequest {
        page_size: 1,
        state: InvitationState::Pending.into(),
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
    let elsewhere = |change: &dyn Fn(&mut ListRequest)| {
        let mut request = next.clone();
        change(&mut request);
        request
    };
    let foreign = [
        changed(|token| token.truncate(20)),
        changed(|token| token.push('A')),
        changed(|token| {
            let first = if token.remove(0) == 'A' { 'B' } else { 'A' };
            token.insert(0, first);
        }),
        changed(|token| "x".clone_into(token)),
        changed(|token| "\u{1f600}".clone_into(token)),
        elsewhere(&|request| request.state = 0),
        elsewhere(&|request| request.state = InvitationState::Accepted.into()),
        elsewhere(&|request| request.delivery_state = DeliveryState::NotRequested.into()),
        elsewhere(&|request| "1@b.co".clone_into(&mut request.email)),
        elsewhere(&|request| "ada".clone_into(&mut request.inviter_user_id)),
        elsewhere(&|request| request.batch_id.clone_from(&batch_id)),
        elsewhere(&|request| OTHER.clone_into(&mut request.organization_id)),
    ];
    for (number, request) in foreign.iter().enumerate() {
        let status = world.client().list(request.clone()).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{number}");
        assert_eq!(
            reason(Err::<(), _>(status)),
            "PAGE_TOKEN_INVALID",
            "{number}"
        );
    }
}
