//! Reminders: one more mail before an invitation expires, to those who were reached and have not come.

use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, DeclineRequest, Invitation, NewInvitation, OnExisting,
    Organization, ResendRequest, RevokeRequest, UpsertOrganizationsRequest, new_invitation,
    resend_request,
};
use invitations::proto::{DeliveryState, ResendFilter};
use time::Duration;

use crate::support::relay::SmtpStep;
use crate::support::{ACME, START, World, create_request, created, item, reason};

fn seconds(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.whole_seconds(),
        nanos: 0,
    }
}

/// An item that expires in ten days and reminds so long before.
fn reminded(email: &str, lead: Duration) -> NewInvitation {
    NewInvitation {
        expiry: Some(new_invitation::Expiry::Ttl(seconds(Duration::days(10)))),
        reminder_lead: Some(seconds(lead)),
        ..item(email)
    }
}

async fn invite(world: &World, items: Vec<NewInvitation>) -> Vec<Invitation> {
    let request = BulkCreateRequest {
        invitations: items,
        ..create_request(vec![])
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    let results = answer.into_inner().results;
    results.iter().map(created).collect()
}

/// One that was mailed, expires in ten days and reminds three days before.
async fn invite_reminded(world: &mut World, email: &str) -> String {
    let made = invite(world, vec![reminded(email, Duration::days(3))]).await;
    world.deliver_all().await;
    made[0].id.clone()
}

async fn remind_time(world: &World, id: &str) -> Option<i64> {
    let time = world.get(id).await.remind_time;
    time.map(|time| time.seconds - START.unix_timestamp())
}

/// The kinds of an invitation's mails, first to last.
async fn kinds(world: &World, id: &str) -> Vec<String> {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT kind FROM outbox WHERE invitation_id = $1::uuid ORDER BY send_seq")
        .bind(id)
        .fetch_all(&mut database)
        .await
        .unwrap()
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn who_has_not_come_is_reminded_once_with_the_same_link() {
    let mut world = World::start().await;
    let id = invite_reminded(&mut world, "a@b.co").await;
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
    assert_eq!(kinds(&world, &id).await, ["invitation", "reminder"]);
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
async fn who_has_ended_it_is_not_reminded() {
    let mut world = World::start().await;
    let emails = ["accept@b.co", "decline@b.co", "revoke@b.co"];
    let mut ids = Vec::new();
    for email in emails {
        ids.push(invite_reminded(&mut world, email).await);
    }
    let token = |email: &str| world.mail_to(email).token();
    world
        .accept(&token(emails[0]), "new", emails[0])
        .await
        .unwrap();
    let request = DeclineRequest {
        suppress: false,
        token: token(emails[1]),
    };
    world.client().decline(request).await.unwrap();
    let request = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: ids[2].clone(),
        user_id: String::new(),
    };
    world.client().revoke(request).await.unwrap();
    for id in &ids {
        assert_eq!(remind_time(&world, id).await, None);
    }
    world.clock.advance(Duration::days(8));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn nobody_is_reminded_of_a_mail_that_did_not_get_through() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 no such user");
    let failed = invite_reminded(&mut world, "failed@b.co").await;
    assert_eq!(remind_time(&world, &failed).await, None);
    let mut database = world.database().await;
    let mut others = Vec::new();
    for state in ["bounced", "complained", "suppressed", "queued", "deferred"] {
        let id = invite_reminded(&mut world, &format!("{state}@b.co")).await;
        sqlx::query("UPDATE invitations SET delivery_state = $2 WHERE id = $1::uuid")
            .bind(&id)
            .bind(state)
            .execute(&mut database)
            .await
            .unwrap();
        let is_planned = ["queued", "deferred"].contains(&state);
        let told = remind_time(&world, &id).await;
        assert_eq!(told.is_some(), is_planned, "{state}");
        others.push(id);
    }
    let unmailed = NewInvitation {
        notify: Some(false),
        ..reminded("unmailed@b.co", Duration::days(3))
    };
    let unmailed = invite(&world, vec![unmailed]).await;
    assert!(unmailed[0].remind_time.is_none());
    world.clock.advance(Duration::days(7));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    for id in others {
        assert_eq!(remind_time(&world, &id).await, None);
        assert_eq!(kinds(&world, &id).await, ["invitation"]);
    }
}

#[tokio::test]
async fn an_expired_invitation_is_not_reminded_of_however_late_anybody_looks() {
    let mut world = World::start().await;
    let id = invite_reminded(&mut world, "a@b.co").await;
    world.clock.advance(Duration::days(10));
    assert_eq!(world.service.remind().await.unwrap(), 0);
    assert_eq!(kinds(&world, &id).await, ["invitation"]);
    world.service.sweep().await.unwrap();
    assert_eq!(world.service.remind().await.unwrap(), 0);
}

#[tokio::test]
async fn any_number_of_replicas_make_one_reminder() {
    let mut world = World::start().await;
    let items = (0..1_200).map(|number| reminded(&format!("p{number}@b.co"), Duration::days(3)));
    invite(&world, items.collect()).await;
    let mut database = world.database().await;
    for statement in [
        "UPDATE outbox SET state = 'sent'",
        "UPDATE invitations SET delivery_state = 'sent'",
    ] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    world.clock.advance(Duration::days(7));
    let replicas = (0..4).map(|_| {
        let service = world.service.clone();
        tokio::spawn(async move { service.remind().await.unwrap() })
    });
    let queued = futures::future::join_all(replicas).await;
    let queued: i64 = queued.into_iter().map(Result::unwrap).sum();
    assert_eq!(queued, 1_200);
    let reminders: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT invitation_id) FROM outbox WHERE kind = 'reminder'",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(reminders, (1_200, 1_200));
    world.may_leave_mail();
}

#[tokio::test]
async fn an_invitation_says_when_to_remind_or_its_organization_does() {
    let mut world = World::start().await;
    let organization = |lead: Option<Duration>| UpsertOrganizationsRequest {
        organizations: vec![Organization {
            id: ACME.to_owned(),
            name: "Acme Engines".to_owned(),
            reminder_lead: lead.map(seconds),
            ..Default::default()
        }],
    };
    let upsert = |request| {
        let mut directory = world.directory();
        async move { directory.upsert_organizations(request).await.unwrap() }
    };
    let answer = upsert(organization(Some(Duration::days(2)))).await;
    assert_eq!(answer.into_inner().failed_count, 0);
    let of_organization = NewInvitation {
        reminder_lead: None,
        ..reminded("a@b.co", Duration::ZERO)
    };
    let near = NewInvitation {
        expiry: Some(new_invitation::Expiry::Ttl(seconds(Duration::hours(25)))),
        ..reminded("d@b.co", Duration::days(1))
    };
    let too_near = NewInvitation {
        expiry: Some(new_invitation::Expiry::Ttl(seconds(
            Duration::hours(25) - Duration::SECOND,
        ))),
        ..reminded("e@b.co", Duration::days(1))
    };
    let items = vec![
        of_organization.clone(),
        reminded("b@b.co", Duration::ZERO),
        reminded("c@b.co", Duration::days(5)),
        near,
        too_near,
    ];
    let dry = BulkCreateRequest {
        invitations: items.clone(),
        validate_only: true,
        ..create_request(vec![])
    };
    let foretold = world.client().bulk_create(dry).await.unwrap();
    let foretold = foretold.into_inner().results;
    let made = invite(&world, items).await;
    let expected = [Some(8 * DAY), None, Some(5 * DAY), Some(3_600), None];
    for ((invitation, foretold), expected) in made.iter().zip(&foretold).zip(expected) {
        assert_eq!(remind_time(&world, &invitation.id).await, expected);
        let foretold = foretold.invitation.clone().unwrap().remind_time;
        assert!(foretold == invitation.remind_time);
    }
    // Without one again, what was invited before keeps its own.
    upsert(organization(None)).await;
    assert_eq!(remind_time(&world, &made[0].id).await, Some(8 * DAY));
    let unset = NewInvitation {
        email: "f@b.co".to_owned(),
        ..of_organization
    };
    assert!(invite(&world, vec![unset]).await[0].remind_time.is_none());
    for lead in [Duration::MINUTE, Duration::days(31), -Duration::HOUR] {
        let answer = upsert(organization(Some(lead))).await.into_inner();
        let error = answer.results[0].error.as_ref().unwrap();
        assert_eq!(error.violations[0].field, "reminder_lead");
    }
    world.deliver_all().await;
}

#[tokio::test]
async fn each_renewed_expiry_has_a_reminder_of_its_own() {
    let mut world = World::start().await;
    let id = invite_reminded(&mut world, "a@b.co").await;
    world.clock.advance(Duration::days(7));
    assert_eq!(world.service.remind().await.unwrap(), 1);
    world.deliver_all().await;
    let ten_days = || seconds(Duration::days(10));

    let single = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id.clone(),
        expiry: Some(resend_request::Expiry::Ttl(ten_days())),
        ..Default::default()
    };
    world.client().resend(single.clone()).await.unwrap();
    assert_eq!(remind_time(&world, &id).await, Some(14 * DAY));
    let short = ResendRequest {
        expiry: Some(resend_request::Expiry::Ttl(seconds(Duration::days(3)))),
        ..single
    };
    world.client().resend(short).await.unwrap();
    assert_eq!(
        remind_time(&world, &id).await,
        None,
        "it would come at once"
    );

    let bulk = BulkResendRequest {
        organization_id: ACME.to_owned(),
        filter: Some(ResendFilter::default()),
        expiry: Some(invitations::proto::bulk_resend_request::Expiry::Ttl(
            ten_days(),
        )),
        validate_only: true,
        ..Default::default()
    };
    let foretold = world.client().bulk_resend(bulk.clone()).await.unwrap();
    let real = BulkResendRequest {
        validate_only: false,
        ..bulk
    };
    let answer = world.client().bulk_resend(real).await.unwrap();
    assert!(answer.into_inner() == foretold.into_inner());
    assert_eq!(remind_time(&world, &id).await, Some(14 * DAY));

    let existing = BulkCreateRequest {
        invitations: vec![reminded("a@b.co", Duration::ZERO)],
        on_existing: OnExisting::Resend.into(),
        ..create_request(vec![])
    };
    world.client().bulk_create(existing).await.unwrap();
    assert_eq!(
        remind_time(&world, &id).await,
        Some(14 * DAY),
        "its own lead stays, like its role"
    );
    world.deliver_all().await;
    world.clock.advance(Duration::days(7));
    assert_eq!(world.service.remind().await.unwrap(), 1);
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_malformed_lead_fails_its_item() {
    let world = World::start().await;
    let request = BulkCreateRequest {
        invitations: vec![reminded("a@b.co", Duration::days(31))],
        atomic: true,
        ..create_request(vec![])
    };
    let refused = world.client().bulk_create(request).await;
    assert_eq!(reason(refused), "ITEMS_FAILED");
}
