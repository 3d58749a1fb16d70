//! The suspension of one organization: it can neither invite, send emails nor accept, and nothing is lost.

use invitations::proto::{
    BulkCreateRequest, DeliveryState, ResumeOrganizationRequest, SuspendOrganizationRequest,
    SuspendOrganizationResponse,
};
use sqlx::Executor as _;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::support::delivery_attempts::state_and_attempts;
use crate::support::directory::organization;
use crate::support::{
    ACME, START, World, bulk_resend_request, created, invite_request, invite_to_other_request,
    list_request, numbered_emails, preview_request, reason, resend_request, status_reason,
};

async fn suspend(world: &World, id: &str) -> Result<SuspendOrganizationResponse, Status> {
    let request = SuspendOrganizationRequest {
        organization_id: id.to_owned(),
        ..Default::default()
    };
    let answer = world.directory().suspend_organization(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn resume(world: &World, id: &str) -> Result<i64, Status> {
    let request = ResumeOrganizationRequest {
        organization_id: id.to_owned(),
        ..Default::default()
    };
    let answer = world.directory().resume_organization(request).await;
    answer.map(|answer| answer.into_inner().released_message_count)
}

#[tokio::test]
async fn a_suspended_organization_can_neither_invite_nor_accept_but_can_revoke_and_decline() {
    let mut world = World::start().await;
    let (kept, token) = world.invite_one("a@b.co").await;
    let (revoked, _) = world.invite_one("b@b.co").await;
    let (_, token_to_decline) = world.invite_one("c@b.co").await;
    let suspended_at = suspend(&world, ACME).await.unwrap().suspend_time.unwrap();
    assert_eq!(suspended_at.seconds, START.unix_timestamp());

    let mut client = world.client();
    let invite = invite_request(&["d@b.co"]);
    let dry_run = BulkCreateRequest {
        validate_only: true,
        ..invite.clone()
    };
    let refused = [
        reason(client.bulk_create(invite).await),
        reason(client.bulk_create(dry_run).await),
        reason(client.resend(resend_request(&kept.id)).await),
        reason(client.bulk_resend(bulk_resend_request(&[&kept.id])).await),
        reason(client.preview(preview_request(&token)).await),
        reason(world.accept(&token, "alice", "a@b.co").await),
    ];
    assert!(
        refused.iter().all(|it| it == "ORGANIZATION_SUSPENDED"),
        "{refused:?}"
    );
    world.get(&kept.id).await;
    assert_eq!(world.list(list_request()).await.invitations.len(), 3);
    world.revoke(&revoked.id).await;
    world.decline(&token_to_decline).await.unwrap();
    let request = invite_to_other_request(&["z@b.co"]);
    world.bulk_create(request).await;

    // An upsert of the organization does not resume it.
    let upsert = organization(ACME, "Acme Engines");
    world.upsert_organization(upsert).await;
    world.clock.advance(time::Duration::minutes(2));
    let again = suspend(&world, ACME).await.unwrap().suspend_time.unwrap();
    assert_eq!(again, suspended_at);
    let refused = client.resend(resend_request(&kept.id)).await;
    assert_eq!(reason(refused), "ORGANIZATION_SUSPENDED");

    assert_eq!(resume(&world, ACME).await.unwrap(), 0);
    assert_eq!(resume(&world, ACME).await.unwrap(), 0);
    client.preview(preview_request(&token)).await.unwrap();
    world.resend(&kept.id).await;
    world.accept(&token, "alice", "a@b.co").await.unwrap();
    world.deliver_all().await;
}

#[tokio::test]
async fn calls_in_progress_do_not_delay_a_suspension() {
    let world = World::start().await;
    let mut busy = world.database().await;
    busy.execute("BEGIN; SELECT 1 FROM organizations WHERE id = 'acme' FOR KEY SHARE")
        .await
        .unwrap();
    suspend(&world, ACME).await.unwrap();
    let answer = world
        .client()
        .bulk_create(invite_request(&["a@b.co"]))
        .await;
    assert_eq!(reason(answer), "ORGANIZATION_SUSPENDED");
    busy.execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn emails_of_a_suspended_organization_wait_without_blocking_others_until_it_resumes() {
    let mut world = World::start().await;
    let emails = numbered_emails("held", "example.net", 0..200);
    let held = created(&world.invite(&emails).await.results[0]).id;
    suspend(&world, ACME).await.unwrap();
    world.clock.advance(time::Duration::SECOND);
    let request = invite_to_other_request(&["x@b.co", "y@b.co", "z@b.co"]);
    world.bulk_create(request).await;
    world.deliver_all().await;
    assert_eq!(world.mailbox().len(), 3);
    assert_eq!(
        state_and_attempts(&world, &held).await,
        (DeliveryState::Queued, 0)
    );
    // Longer than an email is retried. Nothing is sent in this time.
    for _ in 0..3 {
        world.clock.advance(time::Duration::days(1));
        world.service.sweep().await.unwrap();
        assert_eq!(world.deliver_all().await, 0);
    }
    world.revoke(&held).await;
    assert_eq!(resume(&world, ACME).await.unwrap(), 199);
    // The released emails can be retried for the full time from now on.
    let released =
        "outbox WHERE state = 'queued' AND requeued_at = next_attempt_at AND attempts = 0";
    assert_eq!(world.count(released).await, 199);
    assert_eq!(world.deliver_all().await, 199);
    assert_eq!(world.mailbox().len(), 202);
}

#[tokio::test]
async fn a_running_worker_holds_emails_back_until_their_organization_resumes() {
    let mut world = World::start().await;
    world.invite(&["a@b.co"]).await;
    let worker = world.take_worker();
    suspend(&world, ACME).await.unwrap();
    let stopping = CancellationToken::new();
    let running = tokio::spawn(worker.run(stopping.clone()));
    let request = invite_to_other_request(&["z@b.co"]);
    world.bulk_create(request).await;
    world.relay.wait_until_received(1).await;
    assert_eq!(world.recipients(), ["z@b.co"]);
    // After the organization resumes, the worker sends the email at once.
    assert_eq!(resume(&world, ACME).await.unwrap(), 1);
    world.relay.wait_until_received(2).await;
    stopping.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn only_a_caller_for_all_organizations_can_suspend_one() {
    let world = World::start().await;
    let request = SuspendOrganizationRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    let mut limited = world.directory_of("acme-only");
    assert_eq!(
        reason(limited.suspend_organization(request).await),
        "ORGANIZATION_DENIED"
    );
    let request = ResumeOrganizationRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        reason(limited.resume_organization(request).await),
        "ORGANIZATION_DENIED"
    );
    assert_eq!(
        reason(suspend(&world, "unknown").await),
        "ORGANIZATION_NOT_FOUND"
    );
    assert_eq!(
        reason(resume(&world, "unknown").await),
        "ORGANIZATION_NOT_FOUND"
    );
    assert_eq!(reason(suspend(&world, "").await), "FIELD_REQUIRED");
}

#[tokio::test]
async fn a_deleted_organization_can_be_neither_suspended_nor_resumed() {
    let world = World::start().await;
    suspend(&world, ACME).await.unwrap();
    world.delete_organization().await;
    for refused in [
        suspend(&world, ACME).await.err(),
        resume(&world, ACME).await.err(),
    ] {
        let status = refused.unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status_reason(&status), "ORGANIZATION_DELETED");
    }
}
