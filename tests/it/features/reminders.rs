//! Reminders: one more email before a pending invitation expires, if the first one was delivered.

use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, DeliveryState, Invitation, NewInvitation, OnExisting,
    Organization, ResendRequest, bulk_resend_request, new_invitation, resend_request,
};
use time::Duration;

use crate::support::directory::organization;
use crate::support::relay::SmtpStep;
use crate::support::{
    ACME, START, World, bulk_resend_all, create_request, created, item, reason, resend_request,
    run_concurrently,
};

fn seconds(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.whole_seconds(),
        nanos: 0,
    }
}

/// An item that expires in ten days, with this lead of its reminder.
fn item_with_reminder(email: &str, lead: Duration) -> NewInvitation {
    NewInvitation {
        expiration: Some(new_invitation::Expiration::Ttl(seconds(Duration::days(10)))),
        reminder_lead: Some(seconds(lead)),
        ..item(email)
    }
}

async fn invite(world: &World, items: Vec<NewInvitation>) -> Vec<Invitation> {
    let request = create_request(items);
    let answer = world.bulk_create(request).await;
    let results = answer.results;
    results.iter().map(created).collect()
}

/// Invites an address and delivers the email. The invitation expires in ten days, with a reminder three days before.
async fn invite_with_reminder(world: &mut World, email: &str) -> String {
    let response = invite(world, vec![item_with_reminder(email, Duration::days(3))]).await;
    world.deliver_all().await;
    response[0].id.clone()
}

/// The seconds from the start of the test to the reminder.
async fn remind_time(world: &World, id: &str) -> Option<i64> {
    let time = world.get(id).await.remind_time;
    time.map(|time| time.seconds - START.unix_timestamp())
}

/// The kinds of the messages of an invitation, in order.
async fn message_kinds(world: &World, id: &str) -> Vec<String> {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT kind FROM outbox WHERE invitation_id = $1::uuid ORDER BY send_seq")
        .bind(id)
        .fetch_all(&mut database)
        .await
        .unwrap()
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_pending_invitation_is_reminded_once_with_the_same_link() {
    let mut world = World::start().await;
    let id = invite_with_reminder(&mut world, "a@b.co").await;
    let first = world.mail_to("a@b.co");
    assert_eq!(remind_time(&world, &id).await, Some(7 * DAY));
    world.clock.advance(Duration::days(7) - Duration::SECOND);
    assert_eq!(world.service.remind().await.unwrap(), 0, "not yet");
    world.clock.advance(Duration::SECOND);
    assert_eq!(world.service.remind().await.unwrap(), 1);
    let queued = world.get(&id).await;
    assert!(queued.remind_time.is_none());
    let delivery = queued.delivery.unwrap();
    assert_eq!(delivery.state(), DeliveryState::Queued);
    assert_eq!(world.service.remind().await.unwrap(), 0, "once");
    assert_eq!(world.deliver_all().await, 1);
    let second = world.mail_to("a@b.co");
    assert_eq!(second.token(), first.token());
    assert_eq!(second.message_id, format!("inv.{id}.1.2@example.com"));
    assert_eq!(message_kinds(&world, &id).await, ["invitation", "reminder"]);
    let delivery = world.get(&id).await.delivery.unwrap();
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 1),
        "delivery is that of the latest mail"
    );
    world.clock.advance(Duration::days(2));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    world
        .accept(&second.token(), "new", "a@b.co")
        .await
        .unwrap();
}

#[tokio::test]
async fn accepted_declined_and_revoked_invitations_are_not_reminded() {
    let mut world = World::start().await;
    let emails = ["accept@b.co", "decline@b.co", "revoke@b.co"];
    let mut ids = Vec::new();
    for email in emails {
        ids.push(invite_with_reminder(&mut world, email).await);
    }
    let token = |email: &str| world.mail_to(email).token();
    world
        .accept(&token(emails[0]), "new", emails[0])
        .await
        .unwrap();
    world.decline(&token(emails[1])).await.unwrap();
    world.revoke(&ids[2]).await;
    for id in &ids {
        assert_eq!(remind_time(&world, id).await, None);
    }
    world.clock.advance(Duration::days(8));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn an_invitation_without_a_delivered_email_is_not_reminded() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 no such user");
    let failed = invite_with_reminder(&mut world, "failed@b.co").await;
    assert_eq!(remind_time(&world, &failed).await, None);
    let mut database = world.database().await;
    let mut others = Vec::new();
    for state in ["bounced", "complained", "suppressed", "queued", "deferred"] {
        let id = invite_with_reminder(&mut world, &format!("{state}@b.co")).await;
        sqlx::query("UPDATE invitations SET delivery_state = $2 WHERE id = $1::uuid")
            .bind(&id)
            .bind(state)
            .execute(&mut database)
            .await
            .unwrap();
        let is_planned = ["queued", "deferred"].contains(&state);
        let remind_time = remind_time(&world, &id).await;
        assert_eq!(remind_time.is_some(), is_planned, "{state}");
        others.push(id);
    }
    let unmailed = NewInvitation {
        notify: Some(false),
        ..item_with_reminder("unmailed@b.co", Duration::days(3))
    };
    let unmailed = invite(&world, vec![unmailed]).await;
    assert!(unmailed[0].remind_time.is_none());
    world.clock.advance(Duration::days(7));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    for id in others {
        assert_eq!(remind_time(&world, &id).await, None);
        assert_eq!(message_kinds(&world, &id).await, ["invitation"]);
    }
}

#[tokio::test]
async fn an_expired_invitation_is_not_reminded_even_by_a_late_run() {
    let mut world = World::start().await;
    let id = invite_with_reminder(&mut world, "a@b.co").await;
    world.clock.advance(Duration::days(10));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    assert_eq!(message_kinds(&world, &id).await, ["invitation"]);
    world.service.sweep().await.unwrap();
    assert_eq!(world.service.remind().await.unwrap(), 0);
}

#[tokio::test]
async fn concurrent_replicas_queue_one_reminder_for_each_invitation() {
    let mut world = World::start().await;
    let items =
        (0..1_200).map(|number| item_with_reminder(&format!("p{number}@b.co"), Duration::days(3)));
    invite(&world, items.collect()).await;
    world
        .execute(
            "UPDATE outbox SET state = 'sent';
             UPDATE invitations SET delivery_state = 'sent'",
        )
        .await;
    world.clock.advance(Duration::days(7));
    let replicas = (0..4).map(|_| {
        let service = world.service.clone();
        async move { service.remind().await.unwrap() }
    });
    let queued: i64 = run_concurrently(replicas).await.into_iter().sum();
    assert_eq!(queued, 1_200);
    let reminders: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT invitation_id) FROM outbox WHERE kind = 'reminder'",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap();
    assert_eq!(reminders, (1_200, 1_200));
    world.may_leave_mail();
}

fn acme_with_lead(lead: Option<Duration>) -> Organization {
    Organization {
        reminder_lead: lead.map(seconds),
        ..organization(ACME, "Acme Engines")
    }
}

/// An item that expires after this time, with a reminder one day before.
fn item_with_expiry(email: &str, ttl: Duration) -> NewInvitation {
    NewInvitation {
        expiration: Some(new_invitation::Expiration::Ttl(seconds(ttl))),
        ..item_with_reminder(email, Duration::days(1))
    }
}

#[tokio::test]
async fn the_reminder_lead_of_an_item_overrides_that_of_its_organization() {
    let mut world = World::start().await;
    let lead = Some(Duration::days(2));
    world.upsert_organization(acme_with_lead(lead)).await;
    let of_organization = NewInvitation {
        reminder_lead: None,
        ..item_with_reminder("a@b.co", Duration::ZERO)
    };
    let items = vec![
        of_organization.clone(),
        item_with_reminder("b@b.co", Duration::ZERO),
        item_with_reminder("c@b.co", Duration::days(5)),
        item_with_expiry("d@b.co", Duration::hours(25)),
        item_with_expiry("e@b.co", Duration::hours(25) - Duration::SECOND),
    ];
    let dry_run = BulkCreateRequest {
        validate_only: true,
        ..create_request(items.clone())
    };
    let previewed = world.bulk_create(dry_run).await.results;
    let invitations = invite(&world, items).await;
    let expected = [Some(8 * DAY), None, Some(5 * DAY), Some(3_600), None];
    for ((invitation, previewed), expected) in invitations.iter().zip(&previewed).zip(expected) {
        assert_eq!(remind_time(&world, &invitation.id).await, expected);
        let previewed = previewed.invitation.clone().unwrap().remind_time;
        assert!(previewed == invitation.remind_time);
    }
    // A change of the organization does not affect existing invitations.
    world
        .upsert_organization(acme_with_lead(Some(Duration::ZERO)))
        .await;
    let first = &invitations[0].id;
    assert_eq!(remind_time(&world, first).await, Some(8 * DAY));
    let unset = NewInvitation {
        email: "f@b.co".to_owned(),
        ..of_organization
    };
    assert!(invite(&world, vec![unset]).await[0].remind_time.is_none());
    for lead in [Duration::MINUTE, Duration::days(31), -Duration::HOUR] {
        let organizations = vec![acme_with_lead(Some(lead))];
        let results = world.upsert_organizations(organizations).await;
        let error = results[0].error.as_ref().unwrap();
        assert_eq!(error.violations[0].field, "reminder_lead");
    }
    world.deliver_all().await;
}

#[tokio::test]
async fn a_renewed_expiry_schedules_a_new_reminder() {
    let mut world = World::start().await;
    let id = invite_with_reminder(&mut world, "a@b.co").await;
    world.clock.advance(Duration::days(7));
    assert_eq!(world.service.remind().await.unwrap(), 1);
    world.deliver_all().await;
    let ten_days = || seconds(Duration::days(10));

    let single = ResendRequest {
        expiration: Some(resend_request::Expiration::Ttl(ten_days())),
        ..resend_request(&id)
    };
    world.client().resend(single.clone()).await.unwrap();
    assert_eq!(remind_time(&world, &id).await, Some(14 * DAY));
    let short = ResendRequest {
        expiration: Some(resend_request::Expiration::Ttl(seconds(Duration::days(3)))),
        ..single
    };
    world.client().resend(short).await.unwrap();
    assert_eq!(
        remind_time(&world, &id).await,
        None,
        "the reminder would be due at once"
    );

    let bulk = BulkResendRequest {
        expiration: Some(bulk_resend_request::Expiration::Ttl(ten_days())),
        validate_only: true,
        ..bulk_resend_all()
    };
    let previewed = world.client().bulk_resend(bulk.clone()).await.unwrap();
    let request = BulkResendRequest {
        validate_only: false,
        ..bulk
    };
    let answer = world.client().bulk_resend(request).await.unwrap();
    assert!(answer.into_inner() == previewed.into_inner());
    assert_eq!(remind_time(&world, &id).await, Some(14 * DAY));

    let existing = BulkCreateRequest {
        on_existing: OnExisting::Resend.into(),
        ..create_request(vec![item_with_reminder("a@b.co", Duration::ZERO)])
    };
    world.client().bulk_create(existing).await.unwrap();
    assert_eq!(
        remind_time(&world, &id).await,
        Some(14 * DAY),
        "the lead of the invitation changed"
    );
    world.deliver_all().await;
    world.clock.advance(Duration::days(7));
    assert_eq!(world.service.remind().await.unwrap(), 1);
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_reminder_lead_out_of_range_fails_its_item() {
    let world = World::start().await;
    let request = BulkCreateRequest {
        atomic: true,
        ..create_request(vec![item_with_reminder("a@b.co", Duration::days(31))])
    };
    let refused = world.client().bulk_create(request).await;
    assert_eq!(reason(refused), "ITEMS_FAILED");
}
