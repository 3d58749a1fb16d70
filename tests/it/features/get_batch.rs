//! `GetBatch`: how many invitations of a call are where, to the last one, whatever happens to them and whoever counts.

use std::collections::BTreeMap;

use invitations::domain::bounce_address::SentMail;
use invitations::domain::ids::OrganizationId;
use invitations::proto::{
    Batch, BulkCreateRequest, BulkResendRequest, BulkRevokeRequest, DeclineRequest,
    DeleteOrganizationRequest, DeliveryState, EraseAddressRequest, GetBatchRequest,
    InvitationState, NewInvitation, OnExisting, RequeueRequest, ResendFilter, ResendRequest,
    RevokeFilter, RevokeRequest,
};
use invitations::service::{Feedback, FeedbackKind, FeedbackSource, RecordFeedback, Retention};
use invitations::store::Connection;
use invitations::store::batches::{self, Done};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::relay::SmtpStep;
use crate::support::{
    ACME, OTHER, START, World, accept_request, create_request, created, invite_request, item,
    reason,
};

type Counts = (BTreeMap<i32, i64>, BTreeMap<i32, i64>);

/// What a batch says of itself.
async fn get(world: &World, organization_id: &str, batch_id: &str) -> Batch {
    let request = GetBatchRequest {
        organization_id: organization_id.to_owned(),
        batch_id: batch_id.to_owned(),
    };
    let answer = world.client().get_batch(request).await.unwrap();
    answer.into_inner().batch.unwrap()
}

fn counts(batch: &Batch) -> Counts {
    let states = batch.state_counts.iter().map(|it| (it.state, it.count));
    let deliveries = batch.delivery_state_counts.iter();
    (
        states.collect(),
        deliveries.map(|it| (it.delivery_state, it.count)).collect(),
    )
}

fn state_number(name: &str) -> i32 {
    let name = format!("INVITATION_STATE_{}", name.to_uppercase());
    InvitationState::from_str_name(&name).unwrap().into()
}

fn delivery_number(name: &str) -> i32 {
    let name = format!("DELIVERY_STATE_{}", name.to_uppercase());
    DeliveryState::from_str_name(&name).unwrap().into()
}

/// Fails unless every batch has the counts that its rows have, looked at one by one.
pub(crate) async fn assert_counts(world: &World) {
    let now = invitations::clock::Clock::now(&*world.clock);
    let mut database = world.database().await;
    let rows: Vec<(Uuid, String, String, OffsetDateTime, bool)> = sqlx::query_as(
        "SELECT i.batch_id, i.state, i.delivery_state, i.expires_at,
                EXISTS (SELECT FROM outbox o
                         WHERE o.invitation_id = i.id AND o.send_seq = i.send_seq AND o.state = 'sending')
           FROM invitations i",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let mut expected: BTreeMap<Uuid, Counts> = BTreeMap::new();
    for (batch_id, state, delivery_state, expires_at, is_held) in rows {
        let is_overdue = state == "pending" && expires_at <= now;
        let state = if is_overdue { "expired" } else { &state };
        let is_known = ["bounced", "complained"].contains(&delivery_state.as_str());
        let delivery_state = if is_held && !is_known {
            "sending"
        } else {
            &delivery_state
        };
        let (states, deliveries) = expected.entry(batch_id).or_default();
        *states.entry(state_number(state)).or_default() += 1;
        *deliveries
            .entry(delivery_number(delivery_state))
            .or_default() += 1;
    }
    let batches: Vec<(Uuid, String)> = sqlx::query_as("SELECT id, organization_id FROM batches")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert!(
        expected
            .keys()
            .all(|id| batches.iter().any(|(batch, _)| batch == id))
    );
    for (id, organization_id) in batches {
        let batch = get(world, &organization_id, &id.to_string()).await;
        let expected = expected.remove(&id).unwrap_or_default();
        assert_eq!(counts(&batch), expected, "{id}");
        assert_eq!(batch.invitation_count, expected.0.values().sum::<i64>());
        assert!(batch.item_count >= batch.invitation_count + batch.failed_count);
    }
}

/// Waits until all events are below the horizon; other tests of the cluster hold it for as long as they take.
pub(crate) async fn until_final(world: &World) {
    let mut database = world.database().await;
    let is_final = "SELECT NOT EXISTS (SELECT FROM invitation_events
                                        WHERE transaction_id >= pg_snapshot_xmin(pg_current_snapshot()))";
    while !sqlx::query_scalar::<_, bool>(is_final)
        .fetch_one(&mut database)
        .await
        .unwrap()
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Numbers that are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }

    fn email(&mut self) -> String {
        format!("person{}@b.co", self.below(40))
    }
}

/// What a life knows of what it made.
#[derive(Default)]
struct Made {
    ids: Vec<String>,
    batch_ids: Vec<String>,
}

fn invitation(chance: &mut Chance) -> NewInvitation {
    let second = |seconds| prost_types::Duration { seconds, nanos: 0 };
    NewInvitation {
        notify: (chance.below(5) == 0).then_some(false),
        reminder_lead: (chance.below(2) == 0).then(|| second(86_400 * 2)),
        expiry: Some(invitations::proto::new_invitation::Expiry::Ttl(second(
            86_400 * i64::try_from(3 + chance.below(10)).unwrap(),
        ))),
        ..item(&chance.email())
    }
}

fn batch(chance: &mut Chance) -> BulkCreateRequest {
    let count = 1 + chance.below(12);
    let mut invitations: Vec<_> = (0..count).map(|_| invitation(chance)).collect();
    if chance.below(4) == 0 {
        invitations.push(item("broken"));
    }
    let on_existing = [OnExisting::Fail, OnExisting::Resend, OnExisting::Replace][chance.below(3)];
    BulkCreateRequest {
        invitations,
        on_existing: on_existing.into(),
        ..create_request(vec![])
    }
}

/// Several calls at once, of those that meet on the same rows, and somebody who folds and counts meanwhile.
async fn meet(world: &World, chance: &mut Chance, made: &mut Made) {
    let (one, other) = (batch(chance), batch(chance));
    let resend = BulkResendRequest {
        organization_id: ACME.to_owned(),
        filter: Some(ResendFilter::default()),
        rotate_token: chance.below(2) == 0,
        ..Default::default()
    };
    let revoke = BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        filter: Some(RevokeFilter {
            batch_id: chance.one(&made.batch_ids).cloned().unwrap_or_default(),
            ..Default::default()
        }),
        page_size: 3,
        ..Default::default()
    };
    let client = || world.client();
    let (mut first, mut second, mut third, mut fourth) = (client(), client(), client(), client());
    let (one, other, mailed, taken_back, folded) = tokio::join!(
        first.bulk_create(one),
        second.bulk_create(other),
        third.bulk_resend(resend),
        fourth.bulk_revoke(revoke),
        world.service.fold(),
    );
    // Whoever loses against others may lose, and has changed nothing.
    for answer in [one, other].into_iter().flatten() {
        note(made, answer.into_inner());
    }
    drop((mailed, taken_back));
    folded.unwrap();
}

fn note(made: &mut Made, answer: invitations::proto::BulkCreateResponse) {
    made.batch_ids.push(answer.batch_id);
    let invitations = answer.results.into_iter().filter_map(|it| it.invitation);
    made.ids.extend(invitations.map(|invitation| invitation.id));
}

async fn deliver(world: &mut World, chance: &mut Chance) {
    const REPLIES: [&str; 3] = [
        "250 2.1.5 ok",
        "554 5.7.1 not from you",
        "550 5.1.1 no such user",
    ];
    for _ in 0..chance.below(8) {
        let reply = *chance.one(&REPLIES).unwrap();
        if !reply.starts_with("250") {
            world.relay.reply_once(SmtpStep::Rcpt, reply);
        }
    }
    // Rarely, for it makes the lane go slower.
    if chance.below(6) == 0 {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    }
    world.deliver_all().await;
}

async fn come(world: &World, chance: &mut Chance) {
    let mails = world.mailbox();
    let Some(mail) = chance.one(&mails) else {
        return;
    };
    let token = mail.token();
    if chance.below(2) == 0 {
        let user_id = format!("user-{}", mail.to.split('@').next().unwrap());
        let request = accept_request(&token, &user_id, &mail.to);
        let _ = world.client().accept(request).await;
    } else {
        let suppress = chance.below(4) == 0;
        let _ = world
            .client()
            .decline(DeclineRequest { token, suppress })
            .await;
    }
}

async fn report(world: &World, chance: &mut Chance, made: &Made, number: usize) {
    let kinds = [
        FeedbackKind::HardBounce,
        FeedbackKind::Bounce,
        FeedbackKind::Delay,
        FeedbackKind::Complaint,
    ];
    let Some(id) = chance.one(&made.ids) else {
        return;
    };
    let feedback = Feedback {
        mail: SentMail {
            invitation_id: Uuid::parse_str(id).unwrap(),
            send_seq: i32::try_from(1 + chance.below(2)).unwrap(),
        },
        kind: *chance.one(&kinds).unwrap(),
        text: String::new(),
        reply_code: None,
        source: FeedbackSource::Dsn,
        event_id: number.to_string(),
    };
    world
        .service
        .run(RecordFeedback(feedback.clone()))
        .await
        .unwrap();
}

async fn act(world: &mut World, chance: &mut Chance, made: &mut Made, number: usize) {
    let id = chance.one(&made.ids).cloned().unwrap_or_default();
    let organization_id = ACME.to_owned();
    match chance.below(16) {
        0..3 => {
            let answer = world.client().bulk_create(batch(chance)).await.unwrap();
            note(made, answer.into_inner());
        }
        3..5 => deliver(world, chance).await,
        5..7 => come(world, chance).await,
        7 => {
            let request = RevokeRequest {
                organization_id,
                invitation_id: id,
                user_id: String::new(),
            };
            let _ = world.client().revoke(request).await;
        }
        8 => {
            let request = ResendRequest {
                organization_id,
                invitation_id: id,
                ..Default::default()
            };
            let _ = world.client().resend(request).await;
        }
        9 => {
            let request = RequeueRequest {
                organization_id,
                all_dead: true,
                invitation_ids: Vec::new(),
            };
            world.mails_of("all").requeue(request).await.unwrap();
        }
        10 => report(world, chance, made, number).await,
        11 => {
            world.clock.advance(Duration::hours(40));
            world.service.remind().await.unwrap();
            world.service.sweep().await.unwrap();
        }
        12 => {
            // Expired, and nobody has written it down.
            world.clock.advance(Duration::hours(30));
        }
        13 => {
            let email = chance.email();
            crate::features::suppression::add(world, ACME, &[&email]).await;
        }
        14 => {
            let request = EraseAddressRequest {
                email: chance.email(),
                suppress: false,
            };
            world.directory().erase_address(request).await.unwrap();
        }
        _ => meet(world, chance, made).await,
    }
    if chance.below(3) == 0 {
        world.service.fold().await.unwrap();
    }
}

#[tokio::test]
async fn a_long_random_life_is_counted_to_the_last_invitation() {
    for seed in [1, 2] {
        let mut world = World::start().await;
        world.may_leave_mail();
        let (mut chance, mut made) = (Chance(0x9E37_79B9_7F4A_7C15 ^ seed), Made::default());
        for number in 0..60 {
            act(&mut world, &mut chance, &mut made, number).await;
            if number % 15 == 14 {
                assert_counts(&world).await;
            }
        }
        let delete = DeleteOrganizationRequest {
            organization_id: ACME.to_owned(),
        };
        world.directory().delete_organization(delete).await.unwrap();
        world.deliver_all().await;
        assert_counts(&world).await;
        world.service.fold().await.unwrap();
        assert_counts(&world).await;
        until_final(&world).await;
        world.service.fold().await.unwrap();
        // And now the counters alone say it.
        sqlx::query("DELETE FROM invitation_events")
            .execute(&mut world.database().await)
            .await
            .unwrap();
        assert_counts(&world).await;
    }
}

#[tokio::test]
async fn a_batch_is_told_as_it_goes_from_queued_to_done() {
    let mut world = World::start().await;
    let emails: Vec<String> = (0..6).map(|number| format!("p{number}@b.co")).collect();
    let mut emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    emails.push("broken");
    let batch_id = world.invite(&emails).await.batch_id;
    let batch = get(&world, ACME, &batch_id).await;
    assert_eq!(
        (batch.item_count, batch.failed_count, batch.invitation_count),
        (7, 1, 6)
    );
    assert_eq!(batch.create_time.unwrap().seconds, START.unix_timestamp());
    let of = |states: &[(InvitationState, i64)], deliveries: &[(DeliveryState, i64)]| -> Counts {
        let states = states
            .iter()
            .map(|(state, count)| ((*state).into(), *count));
        let deliveries = deliveries
            .iter()
            .map(|(state, count)| ((*state).into(), *count));
        (states.collect(), deliveries.collect())
    };
    let pending = [(InvitationState::Pending, 6)];
    let expected = of(&pending, &[(DeliveryState::Queued, 6)]);
    assert_eq!(counts(&batch), expected);
    for reply in [
        "450 4.7.1 later",
        "554 5.7.1 not from you",
        "550 5.1.1 no such user",
    ] {
        world.relay.reply_once(SmtpStep::Rcpt, reply);
    }
    world.deliver_all().await;
    for is_folded in [false, true] {
        if is_folded {
            until_final(&world).await;
            assert!(world.service.fold().await.unwrap() > 0);
            assert_eq!(world.service.fold().await.unwrap(), 0, "once");
        }
        let deliveries = [
            (DeliveryState::Deferred, 1),
            (DeliveryState::Failed, 1),
            (DeliveryState::Bounced, 1),
            (DeliveryState::Sent, 3),
        ];
        let batch = get(&world, ACME, &batch_id).await;
        assert_eq!(counts(&batch), of(&pending, &deliveries));
    }
    // Nobody has written yet that their time is over.
    world.clock.advance(Duration::days(60));
    let batch = get(&world, ACME, &batch_id).await;
    assert_eq!(
        counts(&batch).0,
        of(&[(InvitationState::Expired, 6)], &[]).0
    );
    world.service.sweep().await.unwrap();
    assert_eq!(world.deliver_all().await, 0);
    assert_counts(&world).await;
}

#[tokio::test]
async fn a_call_of_failures_alone_is_a_batch_and_a_dry_run_is_none() {
    let world = World::start().await;
    let answer = world.invite(&["broken", "also broken"]).await;
    let batch = get(&world, ACME, &answer.batch_id).await;
    assert_eq!((batch.item_count, batch.failed_count), (2, 2));
    assert_eq!(batch.invitation_count, 0);
    assert!(batch.state_counts.is_empty() && batch.delivery_state_counts.is_empty());
    let request = BulkCreateRequest {
        validate_only: true,
        ..invite_request(&["a@b.co"])
    };
    world.client().bulk_create(request).await.unwrap();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM batches")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_batch_is_of_its_organization_and_another_has_none() {
    let mut world = World::start().await;
    let batch_id = world.invite(&["a@b.co"]).await.batch_id;
    for (organization_id, batch_id) in [
        (OTHER, batch_id.clone()),
        ("unknown", batch_id.clone()),
        (ACME, Uuid::new_v4().to_string()),
    ] {
        let request = GetBatchRequest {
            organization_id: organization_id.to_owned(),
            batch_id,
        };
        let answer = world.client().get_batch(request).await;
        assert_eq!(reason(answer), "BATCH_NOT_FOUND");
    }
    let request = GetBatchRequest {
        organization_id: ACME.to_owned(),
        batch_id,
    };
    let answer = world.client_of("other-only").get_batch(request).await;
    assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    world.deliver_all().await;
}

#[tokio::test]
async fn a_batch_that_grows_is_told_as_far_as_it_has_come() {
    let mut world = World::start().await;
    let batch_id = world.invite(&["a@b.co", "broken"]).await.batch_id;
    world.clock.advance(Duration::minutes(1));
    let organization_id = OrganizationId::parse(ACME).unwrap();
    let more = Done {
        organization_id: &organization_id,
        batch_id: Uuid::parse_str(&batch_id).unwrap(),
        items: 3,
        failed: 3,
        now: START + Duration::minutes(1),
    };
    batches::add(&mut Connection::new(&mut world.database().await), more)
        .await
        .unwrap();
    let batch = get(&world, ACME, &batch_id).await;
    assert_eq!((batch.item_count, batch.failed_count), (5, 4));
    let seconds = batch.update_time.unwrap().seconds - batch.create_time.unwrap().seconds;
    assert_eq!(seconds, 60);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_transaction_with_more_events_than_one_turn_takes_is_folded_whole() {
    let mut world = World::start().await;
    world.may_leave_mail();
    for number in 0..5 {
        world.invite(&[&format!("person{number}@b.co")]).await;
    }
    until_final(&world).await;
    world.service.fold().await.unwrap();
    // One call that touches five batches has a row of events for each.
    let revoke = BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        filter: Some(RevokeFilter::default()),
        ..Default::default()
    };
    world.client().bulk_revoke(revoke).await.unwrap();
    world.invite(&["late@b.co"]).await;
    until_final(&world).await;
    let mut database = world.database().await;
    assert_eq!(
        batches::fold(&mut Connection::new(&mut database), 2)
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        batches::fold(&mut Connection::new(&mut database), 2)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        batches::fold(&mut Connection::new(&mut database), 2)
            .await
            .unwrap(),
        0
    );
    assert_counts(&world).await;
}

#[tokio::test]
async fn any_number_of_processes_fold_beside_each_other() {
    let mut world = World::start().await;
    world.may_leave_mail();
    for round in 0..10 {
        let folding = (0..4).map(|_| world.service.fold());
        let emails: Vec<String> = (0..3)
            .map(|number| format!("r{round}n{number}@b.co"))
            .collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let (folded, _) = tokio::join!(futures::future::join_all(folding), world.invite(&emails));
        for folded in folded {
            folded.unwrap();
        }
    }
    until_final(&world).await;
    world.service.fold().await.unwrap();
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM invitation_events WHERE transaction_id >= (SELECT folded_before FROM event_fold)",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap();
    assert_eq!(left, 0);
    assert_counts(&world).await;
}

#[tokio::test]
async fn a_batch_is_forgotten_with_its_counts_and_does_not_come_back() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let answer = world.invite(&["a@b.co"]).await;
    let id = created(&answer.results[0]).id;
    until_final(&world).await;
    world.service.fold().await.unwrap();
    let retention = Retention {
        batches: Some(std::time::Duration::from_hours(24 * 20)),
        ..Retention::default()
    };
    world.service.purge(&retention).await.unwrap();
    get(&world, ACME, &answer.batch_id).await;
    world.clock.advance(Duration::days(21));
    world.service.purge(&retention).await.unwrap();
    let request = GetBatchRequest {
        organization_id: ACME.to_owned(),
        batch_id: answer.batch_id,
    };
    let answer = world.client().get_batch(request).await;
    assert_eq!(reason(answer), "BATCH_NOT_FOUND");
    let resend = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id,
        ..Default::default()
    };
    world.client().resend(resend).await.unwrap();
    until_final(&world).await;
    world.service.fold().await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM batch_counts")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

/// What the documentation has an operator do.
fn after_a_dump() -> &'static str {
    let text = include_str!("../../../docs/events.md");
    let (_, text) = text.split_once("```sql\n").unwrap();
    text.split_once("```").unwrap().0
}

#[tokio::test]
async fn the_way_back_from_a_dump_counts_all_there_was_and_all_that_comes() {
    for shift in [1_000_000_i64, -500] {
        let mut world = World::start().await;
        world.may_leave_mail();
        world.invite(&["folded@b.co"]).await;
        until_final(&world).await;
        world.service.fold().await.unwrap();
        world.invite(&["fresh@b.co"]).await;
        // As if another cluster had made all of it.
        let mut database = world.database().await;
        for statement in [
            "UPDATE invitation_events SET transaction_id = (transaction_id::text::bigint + $1)::text::xid8",
            "UPDATE event_fold SET folded_before = (folded_before::text::bigint + $1)::text::xid8",
            "UPDATE batches SET transaction_id = (transaction_id::text::bigint + $1)::text::xid8",
        ] {
            sqlx::query(statement)
                .bind(shift)
                .execute(&mut database)
                .await
                .unwrap();
        }
        assert_counts(&world).await;
        sqlx::raw_sql(after_a_dump())
            .execute(&mut database)
            .await
            .unwrap();
        assert_counts(&world).await;
        let late = world.invite(&["late@b.co"]).await;
        assert_counts(&world).await;
        until_final(&world).await;
        assert_eq!(world.service.fold().await.unwrap(), 1);
        assert_counts(&world).await;
        let request = invitations::proto::WatchRequest {
            batch_id: late.batch_id,
            ..crate::features::watch::acme()
        };
        let watching = crate::features::watch::Watching::begin(world.client(), request).await;
        assert_eq!(watching.events.len(), 1);
    }
}
