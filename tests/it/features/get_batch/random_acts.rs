//! A long series of random calls, deliveries, reports and passing of time, after which the counts of every batch are exact.

use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, BulkResendRequest, BulkRevokeRequest, DeclineRequest,
    InvitationFilter, NewInvitation, OnExisting, RequeueMessagesRequest, new_invitation,
};
use invitations::service::{Feedback, FeedbackKind, RecordFeedback};
use time::Duration;

use crate::support::batch_counts::{assert_batch_counts, wait_until_events_are_final};
use crate::support::feedback::{feedback, sent_mail};
use crate::support::relay::SmtpStep;
use crate::support::{
    ACME, World, bulk_resend_all, bulk_revoke_by_filter, create_request, item, requeue_request,
    resend_request, revoke_request,
};

/// A xorshift generator: the numbers are the same in each run.
struct SeededRandom(u64);

impl SeededRandom {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }

    fn choose<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }

    fn email(&mut self) -> String {
        format!("person{}@b.co", self.below(40))
    }
}

/// The ids of what the random acts created.
#[derive(Default)]
struct CreatedIds {
    ids: Vec<String>,
    batch_ids: Vec<String>,
}

fn invitation(random: &mut SeededRandom) -> NewInvitation {
    let second = |seconds| prost_types::Duration { seconds, nanos: 0 };
    NewInvitation {
        notify: (random.below(5) == 0).then_some(false),
        reminder_lead: (random.below(2) == 0).then(|| second(86_400 * 2)),
        expiration: Some(new_invitation::Expiration::Ttl(second(
            86_400 * i64::try_from(3 + random.below(10)).unwrap(),
        ))),
        ..item(&random.email())
    }
}

fn batch(random: &mut SeededRandom) -> BulkCreateRequest {
    let count = 1 + random.below(12);
    let mut invitations: Vec<_> = (0..count).map(|_| invitation(random)).collect();
    if random.below(4) == 0 {
        invitations.push(item("broken"));
    }
    let on_existing = [OnExisting::Fail, OnExisting::Resend, OnExisting::Replace][random.below(3)];
    BulkCreateRequest {
        on_existing: on_existing.into(),
        ..create_request(invitations)
    }
}

/// Makes several concurrent calls that concern the same rows, and folds the counts at the same time.
async fn call_concurrently(world: &World, random: &mut SeededRandom, created: &mut CreatedIds) {
    let (one, other) = (batch(random), batch(random));
    let resend = BulkResendRequest {
        rotate_token: random.below(2) == 0,
        ..bulk_resend_all()
    };
    let of_batch = InvitationFilter {
        batch_id: random.choose(&created.batch_ids).cloned(),
        ..Default::default()
    };
    let revoke = BulkRevokeRequest {
        page_size: 3,
        ..bulk_revoke_by_filter(of_batch)
    };
    let client = || world.client();
    let (mut first, mut second, mut third, mut fourth) = (client(), client(), client(), client());
    let (one, other, resent, revoked, folded) = tokio::join!(
        first.bulk_create(one),
        second.bulk_create(other),
        third.bulk_resend(resend),
        fourth.bulk_revoke(revoke),
        world.service.fold(),
    );
    // A call may fail because of another one, and then has no effect.
    for answer in [one, other].into_iter().flatten() {
        remember(created, answer.into_inner());
    }
    drop((resent, revoked));
    folded.unwrap();
}

fn remember(created: &mut CreatedIds, answer: BulkCreateResponse) {
    created.batch_ids.push(answer.batch_id);
    let invitations = answer.results.into_iter().filter_map(|it| it.invitation);
    created
        .ids
        .extend(invitations.map(|invitation| invitation.id));
}

async fn deliver(world: &mut World, random: &mut SeededRandom) {
    const REPLIES: [&str; 3] = [
        "250 2.1.5 ok",
        "554 5.7.1 not from you",
        "550 5.1.1 no such user",
    ];
    for _ in 0..random.below(8) {
        let reply = *random.choose(&REPLIES).unwrap();
        if !reply.starts_with("250") {
            world.relay.reply_once(SmtpStep::Rcpt, reply);
        }
    }
    // Rarely, because a deferral slows the lane down.
    if random.below(6) == 0 {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    }
    world.deliver_all().await;
}

async fn accept_or_decline(world: &World, random: &mut SeededRandom) {
    let mails = world.mailbox();
    let Some(mail) = random.choose(&mails) else {
        return;
    };
    let token = mail.token();
    if random.below(2) == 0 {
        let user_id = format!("user-{}", mail.to.split('@').next().unwrap());
        let _ = world.accept(&token, &user_id, &mail.to).await;
    } else {
        let suppress = random.below(4) == 0;
        let request = DeclineRequest {
            target: Some(invitations::proto::decline_request::Target::Token(token)),
            suppress,
            ..Default::default()
        };
        let _ = world.client().decline(request).await;
    }
}

async fn report(world: &World, random: &mut SeededRandom, created: &CreatedIds, number: usize) {
    let kinds = [
        FeedbackKind::HardBounce,
        FeedbackKind::Bounce,
        FeedbackKind::Delay,
        FeedbackKind::Complaint,
    ];
    let Some(id) = random.choose(&created.ids) else {
        return;
    };
    let feedback = Feedback {
        mail: sent_mail(id, i32::try_from(1 + random.below(2)).unwrap()),
        event_id: number.to_string(),
        ..feedback(id, *random.choose(&kinds).unwrap())
    };
    world.service.run(RecordFeedback(feedback)).await.unwrap();
}

async fn act(
    world: &mut World,
    random: &mut SeededRandom,
    created: &mut CreatedIds,
    number: usize,
) {
    let id = random.choose(&created.ids).cloned().unwrap_or_default();
    match random.below(16) {
        0..3 => {
            let answer = world.bulk_create(batch(random)).await;
            remember(created, answer);
        }
        3..5 => deliver(world, random).await,
        5..7 => accept_or_decline(world, random).await,
        7 => {
            let _ = world.client().revoke(revoke_request(&id)).await;
        }
        8 => {
            let _ = world.client().resend(resend_request(&id)).await;
        }
        9 => {
            let request = RequeueMessagesRequest {
                all: true,
                ..requeue_request(&[""; 0])
            };
            world.mails().requeue_messages(request).await.unwrap();
        }
        10 => report(world, random, created, number).await,
        11 => {
            world.clock.advance(Duration::hours(40));
            world.service.remind().await.unwrap();
            world.service.sweep().await.unwrap();
        }
        12 => {
            // Invitations expire before the sweeper writes that.
            world.clock.advance(Duration::hours(30));
        }
        13 => {
            let email = random.email();
            world.suppress(ACME, &[&email]).await;
        }
        14 => {
            world.erase_address(&random.email(), false).await;
        }
        _ => call_concurrently(world, random, created).await,
    }
    if random.below(3) == 0 {
        world.service.fold().await.unwrap();
    }
}

#[tokio::test]
async fn counts_are_exact_after_a_long_series_of_random_acts() {
    for seed in [1, 2] {
        let mut world = World::start().await;
        world.may_leave_mail();
        let (mut random, mut created) = (
            SeededRandom(0x9E37_79B9_7F4A_7C15 ^ seed),
            CreatedIds::default(),
        );
        for number in 0..60 {
            act(&mut world, &mut random, &mut created, number).await;
            if number % 15 == 14 {
                assert_batch_counts(&world).await;
            }
        }
        world.delete_organization().await;
        world.deliver_all().await;
        assert_batch_counts(&world).await;
        world.service.fold().await.unwrap();
        assert_batch_counts(&world).await;
        wait_until_events_are_final(&world).await;
        world.service.fold().await.unwrap();
        // From here on, the counts come only from the folded rows.
        world.execute("DELETE FROM invitation_events").await;
        assert_batch_counts(&world).await;
    }
}
