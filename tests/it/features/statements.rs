//! How many statements a call takes: the same whatever its size.

use invitations::domain::quota::QuotaLimits;
use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, OnExisting, RequeueRequest, ResendFilter,
};

use crate::support::statements::StatementRecorder;
use crate::support::streams::{self, CreateStream};
use crate::support::{ACME, World, created, invite_request};

/// Every quota is counted and none is in the way.
const UNREACHED: QuotaLimits = QuotaLimits {
    organization_pending: Some(1_000_000),
    organization_daily: Some(1_000_000),
    address_daily: Some(1_000),
    invitation_resends: Some(1_000),
    invitation_pause: None,
};

#[tokio::test(flavor = "current_thread")]
async fn a_batch_of_any_size_takes_the_same_number_of_statements() {
    let mut world = World::builder().quotas(UNREACHED).start().await;
    world.may_leave_mail();
    // The first call of a day counts what is pending.
    world.invite(&["first@example.net"]).await;
    let statements = StatementRecorder::start();
    let mut counts = Vec::new();
    for size in [1, 10, 1_000] {
        let emails: Vec<String> = (0..size)
            .map(|number| format!("person{number}@batch{size}.example"))
            .collect();
        let mut emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        emails.push("broken");
        for on_existing in [
            OnExisting::Fail,
            OnExisting::Fail,
            OnExisting::Resend,
            OnExisting::Replace,
        ] {
            let request = BulkCreateRequest {
                request_id: uuid::Uuid::new_v4().to_string(),
                on_existing: on_existing.into(),
                return_link: true,
                ..invite_request(&emails)
            };
            let before = statements.count();
            world.client().bulk_create(request).await.unwrap();
            counts.push(statements.count() - before);
        }
    }
    let (one, rest) = counts.split_at(4);
    assert!(
        one[0] > 3 && one.iter().all(|count| *count <= 18),
        "{counts:?}"
    );
    assert!(rest.chunks(4).all(|chunk| chunk == one), "{counts:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn any_number_is_mailed_again_or_queued_again_by_the_same_number_of_statements() {
    let mut world = World::builder().quotas(UNREACHED).start().await;
    world.may_leave_mail();
    let mut counts = Vec::new();
    for size in [1, 10, 1_000] {
        let emails: Vec<String> = (0..size)
            .map(|number| format!("person{number}@batch{size}.example"))
            .collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let made = world.invite(&emails).await;
        let ids: Vec<String> = made.results.iter().map(|it| created(it).id).collect();
        let statements = StatementRecorder::start();
        let by_ids = BulkResendRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            organization_id: ACME.to_owned(),
            invitation_ids: ids.clone(),
            rotate_token: true,
            ..Default::default()
        };
        let by_filter = BulkResendRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            organization_id: ACME.to_owned(),
            filter: Some(ResendFilter {
                batch_id: made.batch_id,
                ..Default::default()
            }),
            ..Default::default()
        };
        for request in [by_ids, by_filter] {
            let before = statements.count();
            let answer = world.client().bulk_resend(request).await.unwrap();
            assert_eq!(answer.into_inner().resent_count, size);
            counts.push(statements.count() - before);
        }
        let request = RequeueRequest {
            organization_id: ACME.to_owned(),
            invitation_ids: ids,
            all_dead: false,
        };
        let before = statements.count();
        world.mails_of("all").requeue(request).await.unwrap();
        counts.push(statements.count() - before);
    }
    let (one, rest) = counts.split_at(3);
    assert!(
        one[0] > 3 && one.iter().all(|count| *count <= 18),
        "{counts:?}"
    );
    assert!(rest.chunks(3).all(|chunk| chunk == one), "{counts:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_chunk_of_any_size_takes_the_same_number_of_statements_and_fewer_when_it_is_sent_again() {
    let mut world = World::builder().quotas(UNREACHED).start().await;
    world.may_leave_mail();
    world.invite(&["first@example.net"]).await;
    let statements = StatementRecorder::start();
    let client = world.client();
    let header = streams::resumable_header();
    let mut counts = Vec::new();
    for _ in 0..2 {
        let mut call = CreateStream::begin(&client, header.clone()).await;
        call.next().await.unwrap();
        let mut first = 0;
        for size in [1, 10, 1_000] {
            let before = statements.count();
            call.send(streams::stream_items("chunk", first..first + size));
            let response = call.next().await.unwrap().unwrap();
            assert_eq!(response.results.len(), size);
            counts.push(statements.count() - before);
            first += size;
        }
    }
    let (made, repeated) = counts.split_at(3);
    assert!(
        made[0] > 3 && made.iter().all(|count| *count == made[0] && *count <= 18),
        "{counts:?}"
    );
    assert!(
        repeated
            .iter()
            .all(|count| *count == repeated[0] && *count < 8),
        "{counts:?}"
    );
}
