//! The number of statements of a call does not depend on its size.

use invitations::domain::quota::QuotaLimits;
use invitations::proto::{BulkCreateRequest, BulkResendRequest, InvitationFilter, OnExisting};

use crate::support::statements::StatementRecorder;
use crate::support::streams::CreateStream;
use crate::support::{
    World, bulk_resend_by_filter, bulk_resend_request, created_ids, invite_request, new_request_id,
    numbered_emails, requeue_request, streams,
};

/// Quotas that are counted but never reached.
const HIGH_QUOTAS: QuotaLimits = QuotaLimits {
    organization_pending: Some(1_000_000),
    organization_daily: Some(1_000_000),
    address_daily: Some(1_000),
    invitation_resends: Some(1_000),
    invitation_pause: None,
};

#[tokio::test(flavor = "current_thread")]
async fn a_batch_of_any_size_runs_the_same_number_of_statements() {
    let mut world = World::builder().quotas(HIGH_QUOTAS).start().await;
    world.may_leave_mail();
    // The first call of a day also counts the pending invitations.
    world.invite(&["first@example.net"]).await;
    let statements = StatementRecorder::start();
    let mut counts = Vec::new();
    for size in [1, 10, 1_000] {
        let mut emails = numbered_emails("p", &format!("batch{size}.example"), 0..size);
        emails.push("invalid".to_owned());
        for on_existing in [
            OnExisting::Fail,
            OnExisting::Fail,
            OnExisting::Resend,
            OnExisting::Replace,
        ] {
            let request = BulkCreateRequest {
                request_id: new_request_id(),
                on_existing: on_existing.into(),
                return_link: true,
                ..invite_request(&emails)
            };
            let before = statements.count();
            world.bulk_create(request).await;
            counts.push(statements.count() - before);
        }
    }
    let (one_item, more_items) = counts.split_at(4);
    assert!(
        one_item[0] > 3 && one_item.iter().all(|count| *count <= 18),
        "{counts:?}"
    );
    assert!(
        more_items.chunks(4).all(|chunk| chunk == one_item),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn bulk_resend_and_requeue_of_any_size_run_the_same_number_of_statements() {
    let mut world = World::builder().quotas(HIGH_QUOTAS).start().await;
    world.may_leave_mail();
    let mut counts = Vec::new();
    for size in [1, 10, 1_000] {
        let emails = numbered_emails("p", &format!("batch{size}.example"), 0..size);
        let created = world.invite(&emails).await;
        let ids = created_ids(&created);
        let statements = StatementRecorder::start();
        let by_ids = BulkResendRequest {
            request_id: new_request_id(),
            rotate_token: true,
            ..bulk_resend_request(&ids)
        };
        let by_filter = BulkResendRequest {
            request_id: new_request_id(),
            ..bulk_resend_by_filter(InvitationFilter {
                batch_id: Some(created.batch_id),
                ..Default::default()
            })
        };
        for request in [by_ids, by_filter] {
            let before = statements.count();
            let answer = world.client().bulk_resend(request).await.unwrap();
            let resent_count = answer.into_inner().resent_count;
            assert_eq!(usize::try_from(resent_count), Ok(size));
            counts.push(statements.count() - before);
        }
        let request = requeue_request(&ids);
        let before = statements.count();
        world.mails().requeue_messages(request).await.unwrap();
        counts.push(statements.count() - before);
    }
    let (one_item, more_items) = counts.split_at(3);
    assert!(
        one_item[0] > 3 && one_item.iter().all(|count| *count <= 18),
        "{counts:?}"
    );
    assert!(
        more_items.chunks(3).all(|chunk| chunk == one_item),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_chunk_of_any_size_runs_the_same_number_of_statements_and_fewer_when_repeated() {
    let mut world = World::builder().quotas(HIGH_QUOTAS).start().await;
    world.may_leave_mail();
    world.invite(&["first@example.net"]).await;
    let statements = StatementRecorder::start();
    let client = world.client();
    let header = streams::resumable_header();
    let mut counts = Vec::new();
    for _ in 0..2 {
        let mut call = CreateStream::begin(&client, header.clone()).await;
        call.next().await.unwrap();
        let mut start = 0;
        for size in [1, 10, 1_000] {
            let before = statements.count();
            call.send(streams::stream_items("chunk", start..start + size));
            let response = call.next().await.unwrap().unwrap();
            assert_eq!(response.results.len(), size);
            counts.push(statements.count() - before);
            start += size;
        }
    }
    let (first, repeated) = counts.split_at(3);
    assert!(
        first[0] > 3 && first.iter().all(|count| *count == first[0] && *count <= 18),
        "{counts:?}"
    );
    assert!(
        repeated
            .iter()
            .all(|count| *count == repeated[0] && *count < 8),
        "{counts:?}"
    );
}
