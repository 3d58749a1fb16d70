//! Requeue: a second chance for mails that were given up; `GetBacklog`: how many wait, and for how long.

use invitations::delivery::LaneConfig;
use invitations::proto::{
    DeliveryState, ErrorReason, GetBacklogRequest, GetBacklogResponse, ItemError, RequeueOutcome,
    RequeueRequest, RequeueResponse, ResendRequest, RevokeRequest,
};
use time::Duration;

use crate::support::lanes::lane;
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{ACME, OTHER, World, created, reason};

fn of(ids: &[String]) -> RequeueRequest {
    RequeueRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: ids.to_vec(),
        all_dead: false,
    }
}

fn all_dead() -> RequeueRequest {
    RequeueRequest {
        all_dead: true,
        ..of(&[])
    }
}

async fn requeue(world: &World, request: RequeueRequest) -> RequeueResponse {
    let answer = world.mails_of("all").requeue(request).await;
    answer.unwrap().into_inner()
}

fn reasons(answer: &RequeueResponse) -> Vec<Option<ErrorReason>> {
    let results = answer.results.iter();
    results
        .map(|result| {
            let error = result.error.as_ref().map(ItemError::reason);
            let is_failed = result.outcome() == RequeueOutcome::Failed;
            assert_eq!(error.is_some(), is_failed);
            error
        })
        .collect()
}

/// Invites addresses whose mail is refused for good.
async fn given_up(world: &mut World, emails: &[&str]) -> Vec<String> {
    for _ in emails {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
    }
    let results = world.invite(emails).await.results;
    world.deliver_all().await;
    results.iter().map(|result| created(result).id).collect()
}

async fn delivery_of(world: &World, id: &str) -> (DeliveryState, i32) {
    let delivery = world.get(id).await.delivery.unwrap();
    (delivery.state(), delivery.attempt_count)
}

async fn backlog(world: &World) -> GetBacklogResponse {
    let answer = world
        .mails_of("all")
        .get_backlog(GetBacklogRequest {})
        .await;
    answer.unwrap().into_inner()
}

fn figures(backlog: &GetBacklogResponse) -> [i64; 4] {
    [
        &backlog.queued,
        &backlog.due,
        &backlog.sending,
        &backlog.dead,
    ]
    .map(|count| {
        let count = count.as_ref().unwrap();
        assert!(!count.capped);
        count.value
    })
}

fn oldest(backlog: &GetBacklogResponse) -> Option<i64> {
    backlog.oldest_waiting.as_ref().map(|age| age.seconds)
}

#[tokio::test]
async fn a_mail_that_was_given_up_goes_out_as_the_mail_it_was() {
    let mut world = World::start().await;
    let ids = given_up(&mut world, &["a@b.co", "b@b.co"]).await;
    assert_eq!(
        delivery_of(&world, &ids[0]).await,
        (DeliveryState::Failed, 1)
    );
    let queued_at = world.get(&ids[0]).await.delivery.unwrap().queue_time;
    // Longer than any mail is tried for.
    world.clock.advance(Duration::days(5));
    let answer = requeue(&world, of(&ids[..1])).await;
    assert_eq!(reasons(&answer), [None]);
    assert_eq!((answer.requeued_count, answer.failed_count), (1, 0));
    assert_eq!(answer.results[0].invitation_id, ids[0]);
    assert_eq!(
        delivery_of(&world, &ids[0]).await,
        (DeliveryState::Queued, 0)
    );
    assert_eq!(
        delivery_of(&world, &ids[1]).await,
        (DeliveryState::Failed, 1)
    );
    // It is tried like a new one: what is refused for now is deferred and not given up.
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(
        delivery_of(&world, &ids[0]).await,
        (DeliveryState::Deferred, 1)
    );
    world.clock.advance(Duration::minutes(1));
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(delivery_of(&world, &ids[0]).await, (DeliveryState::Sent, 2));
    let mail = world.mail_to("a@b.co");
    assert_eq!(mail.message_id, format!("inv.{}.1.1@example.com", ids[0]));
    let raw = String::from_utf8(mail.raw.clone()).unwrap();
    assert!(
        raw.contains("Date: Sun, 22 Nov 2026 18:48:00 +0000"),
        "{raw}"
    );
    assert!(world.get(&ids[0]).await.delivery.unwrap().queue_time == queued_at);
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn a_requeued_mail_is_given_up_after_two_days_of_its_own() {
    let mut world = World::start().await;
    let ids = given_up(&mut world, &["a@b.co"]).await;
    world.clock.advance(Duration::days(5));
    requeue(&world, of(&ids)).await;
    world.clock.advance(Duration::hours(48) + Duration::SECOND);
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(
        delivery_of(&world, &ids[0]).await,
        (DeliveryState::Failed, 1)
    );
}

#[tokio::test]
async fn only_the_latest_mail_of_a_waiting_invitation_is_queued_again() {
    let mut world = World::start().await;
    let emails = ["dead@b.co", "revoked@b.co", "resent@b.co"];
    let ids = given_up(&mut world, &emails).await;
    let sent = created(&world.invite(&["sent@b.co"]).await.results[0]).id;
    let request = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: ids[1].clone(),
        user_id: String::new(),
    };
    world.client().revoke(request).await.unwrap();
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: ids[2].clone(),
        ..Default::default()
    };
    world.client().resend(request).await.unwrap();
    assert_eq!(world.deliver_all().await, 2);
    let unknown = "019aacd0-0000-7000-8000-000000000001".to_owned();
    let mut asked = ids.clone();
    asked.extend([sent, unknown, "no id".to_owned(), ids[0].clone()]);
    let answer = requeue(&world, of(&asked)).await;
    let expected = [
        None,
        Some(ErrorReason::Revoked),
        Some(ErrorReason::MailNotFailed),
        Some(ErrorReason::MailNotFailed),
        Some(ErrorReason::InvitationNotFound),
        Some(ErrorReason::FieldInvalid),
        Some(ErrorReason::DuplicateInRequest),
    ];
    assert_eq!(reasons(&answer), expected);
    let again = requeue(&world, of(&ids[..1])).await;
    assert_eq!(reasons(&again), [Some(ErrorReason::MailNotFailed)]);
    assert_eq!(world.deliver_all().await, 1);

    let expired = given_up(&mut world, &["expired@b.co"]).await;
    world.clock.advance(Duration::days(30));
    let answer = requeue(&world, of(&expired)).await;
    assert_eq!(reasons(&answer), [Some(ErrorReason::Expired)]);
    let foreign = RequeueRequest {
        organization_id: OTHER.to_owned(),
        ..of(&ids[..1])
    };
    let answer = requeue(&world, foreign).await;
    assert_eq!(reasons(&answer), [Some(ErrorReason::InvitationNotFound)]);
}

#[tokio::test]
async fn all_of_an_organization_are_found_and_no_others() {
    let mut world = World::start().await;
    let mut ids = given_up(&mut world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    let request = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: ids.remove(1),
        user_id: String::new(),
    };
    world.client().revoke(request).await.unwrap();
    let elsewhere = RequeueRequest {
        organization_id: OTHER.to_owned(),
        ..all_dead()
    };
    assert_eq!(requeue(&world, elsewhere).await.results.len(), 0);
    let answer = requeue(&world, all_dead()).await;
    let found = answer.results.iter().map(|it| it.invitation_id.clone());
    assert_eq!(found.collect::<Vec<_>>(), ids, "oldest first");
    assert!(!answer.has_more);
    assert_eq!(reasons(&answer), [None, None]);
    assert_eq!(world.deliver_all().await, 2);
    assert_eq!(requeue(&world, all_dead()).await.results.len(), 0);
}

#[tokio::test]
async fn a_call_takes_ten_thousand_and_says_that_there_are_more() {
    let mut world = World::start().await;
    let mut database = world.database().await;
    for (number, count) in [(0, 10_000), (1, 3)] {
        let emails: Vec<String> = (0..count).map(|p| format!("p{p}@b{number}.co")).collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        world.invite(&emails).await;
    }
    for statement in [
        "UPDATE outbox SET state = 'dead'",
        "UPDATE invitations SET delivery_state = 'failed'",
    ] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    let first = requeue(&world, all_dead()).await;
    assert_eq!((first.requeued_count, first.has_more), (10_000, true));
    let second = requeue(&world, all_dead()).await;
    assert_eq!((second.requeued_count, second.has_more), (3, false));
    world.may_leave_mail();
}

#[tokio::test]
async fn a_malformed_request_is_refused() {
    let world = World::start().await;
    let refused = |request: RequeueRequest| {
        let mut client = world.mails_of("all");
        async move { reason(client.requeue(request).await) }
    };
    assert_eq!(refused(of(&[])).await, "ITEMS_EMPTY");
    let many = vec!["x".to_owned(); 10_001];
    assert_eq!(refused(of(&many)).await, "TOO_MANY_ITEMS");
    let both = RequeueRequest {
        all_dead: true,
        ..of(&many[..1])
    };
    assert_eq!(refused(both).await, "FIELD_INVALID");
    let unknown = RequeueRequest {
        organization_id: "unknown".to_owned(),
        ..all_dead()
    };
    assert_eq!(refused(unknown).await, "ORGANIZATION_NOT_FOUND");
}

#[tokio::test]
async fn the_backlog_tells_how_many_wait_and_for_how_long() {
    let mut world = World::start().await;
    assert_eq!(oldest(&backlog(&world).await), None);
    given_up(&mut world, &["dead@b.co"]).await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    world.invite(&["later@b.co"]).await;
    world.deliver_all().await;
    world.invite(&["a@b.co", "b@b.co"]).await;
    let now = backlog(&world).await;
    assert_eq!(figures(&now), [3, 2, 0, 1]);
    assert_eq!(oldest(&now), Some(0));
    world.clock.advance(Duration::seconds(301));
    let late = backlog(&world).await;
    assert_eq!(figures(&late), [3, 3, 0, 1]);
    assert_eq!(oldest(&late), Some(301), "the figure to alert on");

    // A worker that holds a mail has not sent it.
    let mut database = world.database().await;
    sqlx::query(
        "UPDATE outbox SET state = 'sending', lease_token = gen_random_uuid(), lease_until = '2100-01-01'
          WHERE state = 'queued'",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let held = backlog(&world).await;
    assert_eq!(figures(&held), [0, 0, 3, 1]);
    assert_eq!(oldest(&held), Some(301));
    world.may_leave_mail();
}

#[tokio::test]
async fn while_the_relay_is_down_the_backlog_grows_old() {
    let mut world = World::builder()
        .lanes(|relay| {
            vec![LaneConfig {
                pause: std::time::Duration::from_mins(10),
                ..lane(relay)
            }]
        })
        .start()
        .await;
    world.invite(&["a@b.co", "b@b.co"]).await;
    for _ in 0..4 {
        let closing = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
        world.relay.act_once(SmtpStep::Greeting, closing);
    }
    for waited in [0, 301, 602] {
        world.deliver_all().await;
        let now = backlog(&world).await;
        assert_eq!(figures(&now), [2, 2, 0, 0], "deferred, and still due");
        assert_eq!(oldest(&now), Some(waited));
        world.clock.advance(Duration::seconds(301));
    }
    assert!(world.mailbox().is_empty());
    world.may_leave_mail();
}

#[tokio::test]
async fn only_a_caller_for_all_sees_the_backlog() {
    let world = World::start().await;
    let mut limited = world.mails_of("acme-only");
    let refused = limited.get_backlog(GetBacklogRequest {}).await;
    assert_eq!(reason(refused), "ORGANIZATION_DENIED");
}
