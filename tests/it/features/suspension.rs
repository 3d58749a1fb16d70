//! The switch that stops one organization: nothing is made, mailed or taken for it, and nothing is lost.

use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, DeclineRequest, DeliveryState, GetRequest, ListRequest,
    Organization, PreviewRequest, ResendRequest, ResumeOrganizationRequest, RevokeRequest,
    SuspendOrganizationRequest, SuspendOrganizationResponse, UpsertOrganizationsRequest,
};
use sqlx::Executor as _;
use tonic::Status;

use crate::support::{ACME, OTHER, START, World, created, invite_request, reason};

async fn suspend(world: &World, id: &str) -> Result<SuspendOrganizationResponse, Status> {
    let request = SuspendOrganizationRequest {
        organization_id: id.to_owned(),
    };
    let answer = world.directory().suspend_organization(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn resume(world: &World, id: &str) -> Result<i64, Status> {
    let request = ResumeOrganizationRequest {
        organization_id: id.to_owned(),
    };
    let answer = world.directory().resume_organization(request).await;
    answer.map(|answer| answer.into_inner().released_mail_count)
}

fn for_other(emails: &[&str]) -> BulkCreateRequest {
    BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(emails)
    }
}

#[tokio::test]
async fn a_suspended_organization_makes_and_lets_in_nothing_and_may_still_end_what_it_made() {
    let mut world = World::start().await;
    let (kept, token) = world.invite_one("a@b.co").await;
    let (revoked, _) = world.invite_one("b@b.co").await;
    let (_, declined) = world.invite_one("c@b.co").await;
    let since = suspend(&world, ACME).await.unwrap().suspend_time.unwrap();
    assert_eq!(since.seconds, START.unix_timestamp());

    let mut client = world.client();
    let ids = || (ACME.to_owned(), kept.id.clone());
    let (organization_id, invitation_id) = ids();
    let resend = ResendRequest {
        organization_id,
        invitation_id,
        ..Default::default()
    };
    let bulk_resend = BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![kept.id.clone()],
        ..Default::default()
    };
    let dry = BulkCreateRequest {
        validate_only: true,
        ..invite_request(&["d@b.co"])
    };
    let preview = PreviewRequest {
        token: token.clone(),
    };
    let refused = [
        reason(client.bulk_create(invite_request(&["d@b.co"])).await),
        reason(client.bulk_create(dry).await),
        reason(client.resend(resend.clone()).await),
        reason(client.bulk_resend(bulk_resend).await),
        reason(client.preview(preview.clone()).await),
        reason(world.accept(&token, "alice", "a@b.co").await),
    ];
    assert!(
        refused.iter().all(|it| it == "ORGANIZATION_SUSPENDED"),
        "{refused:?}"
    );
    let (organization_id, invitation_id) = ids();
    client
        .get(GetRequest {
            organization_id,
            invitation_id,
        })
        .await
        .unwrap();
    let list = ListRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        client
            .list(list)
            .await
            .unwrap()
            .into_inner()
            .invitations
            .len(),
        3
    );
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: revoked.id,
        user_id: String::new(),
    };
    client.revoke(revoke).await.unwrap();
    let decline = DeclineRequest {
        token: declined,
        suppress: false,
    };
    client.decline(decline).await.unwrap();
    client.bulk_create(for_other(&["z@b.co"])).await.unwrap();

    // Telling the directory of it anew does not let it go on.
    let organizations = vec![Organization {
        id: ACME.to_owned(),
        name: "Acme Engines".to_owned(),
        ..Default::default()
    }];
    let request = UpsertOrganizationsRequest { organizations };
    world
        .directory()
        .upsert_organizations(request)
        .await
        .unwrap();
    world.clock.advance(time::Duration::minutes(2));
    let again = suspend(&world, ACME).await.unwrap().suspend_time.unwrap();
    assert_eq!(again, since);
    assert_eq!(
        reason(client.resend(resend.clone()).await),
        "ORGANIZATION_SUSPENDED"
    );

    assert_eq!(resume(&world, ACME).await.unwrap(), 0);
    assert_eq!(resume(&world, ACME).await.unwrap(), 0);
    client.preview(preview).await.unwrap();
    client.resend(resend).await.unwrap();
    world.accept(&token, "alice", "a@b.co").await.unwrap();
    world.deliver_all().await;
}

#[tokio::test]
async fn calls_at_work_do_not_keep_an_organization_from_being_stopped() {
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
async fn its_mails_wait_without_being_in_the_way_and_go_out_once_it_is_resumed() {
    let mut world = World::start().await;
    let emails: Vec<String> = (0..200)
        .map(|number| format!("held{number}@example.net"))
        .collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let held = world.invite(&emails).await;
    let held = created(&held.results[0]).id;
    suspend(&world, ACME).await.unwrap();
    world.clock.advance(time::Duration::SECOND);
    let others = ["x@b.co", "y@b.co", "z@b.co"];
    world
        .client()
        .bulk_create(for_other(&others))
        .await
        .unwrap();
    world.deliver_all().await;
    assert_eq!(world.mailbox().len(), 3);
    let delivery = world.get(&held).await.delivery.unwrap();
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Queued, 0)
    );
    // Longer than a mail is tried; nothing but looking happens meanwhile.
    for _ in 0..3 {
        world.clock.advance(time::Duration::days(1));
        world.service.sweep().await.unwrap();
        assert_eq!(world.deliver_all().await, 0);
    }
    let mut client = world.client();
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: held.clone(),
        user_id: String::new(),
    };
    client.revoke(revoke).await.unwrap();
    assert_eq!(resume(&world, ACME).await.unwrap(), 199);
    // A relay that is away now finds mails that have all their time.
    let mut database = world.database().await;
    let fresh: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox WHERE state = 'queued' AND requeued_at = next_attempt_at AND attempts = 0",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(fresh, 199);
    assert_eq!(world.deliver_all().await, 199);
    assert_eq!(world.mailbox().len(), 202);
}

#[tokio::test]
async fn a_worker_holds_mails_back_and_is_told_when_they_may_go() {
    let mut world = World::start().await;
    world.invite(&["a@b.co"]).await;
    let worker = world.take_worker();
    suspend(&world, ACME).await.unwrap();
    let stopping = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(worker.run(stopping.clone()));
    world
        .client()
        .bulk_create(for_other(&["z@b.co"]))
        .await
        .unwrap();
    world.relay.wait_until_received(1).await;
    let to: Vec<String> = world.mailbox().into_iter().map(|mail| mail.to).collect();
    assert_eq!(to, ["z@b.co"]);
    // Resumed, it goes out without anybody moving the clock.
    assert_eq!(resume(&world, ACME).await.unwrap(), 1);
    world.relay.wait_until_received(2).await;
    stopping.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn only_whoever_may_act_for_all_organizations_has_the_switch() {
    let world = World::start().await;
    let request = SuspendOrganizationRequest {
        organization_id: ACME.to_owned(),
    };
    let mut limited = world.directory_of("acme-only");
    assert_eq!(
        reason(limited.suspend_organization(request).await),
        "ORGANIZATION_DENIED"
    );
    let request = ResumeOrganizationRequest {
        organization_id: ACME.to_owned(),
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
