//! Whole lives of invitations, drawn at random and lived one call after the other, beside a model in memory.
//!
//! `INVITATIONS_TEST_SEQUENCES` says how many, `INVITATIONS_TEST_SEED` where chance begins; a failure names the seed and
//! the steps.

use std::collections::BTreeSet;

use invitations::proto::{
    BulkCreateRequest, CreateOutcome, DeclineRequest, DeliveryState, InvitationState, ItemError,
    OnExisting, ResendRequest, RevokeRequest,
};
use rand::prelude::IndexedRandom as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::rounds::number;
use crate::support::{ACME, World, invite_request, reason};

/// Lives where nobody says how many.
const SEQUENCES: u64 = 4;
const STEPS: usize = 40;
const PEOPLE: usize = 3;
/// How often a month may pass: a bounce is forgotten after six.
const MONTHS_MAX: usize = 4;
const TAKEN: &str = "250 2.1.5 ok";
const LATER: &str = "450 4.2.0 later";
const UNKNOWN: &str = "550 5.1.1 unknown";

#[derive(Debug, Clone, Copy)]
enum Step {
    Create(usize, OnExisting),
    Resend(usize, bool),
    Accept(usize),
    AcceptAsStranger(usize),
    AcceptByOldLink(usize),
    Decline(usize, bool),
    Revoke(usize),
    MonthPasses,
    HourPasses,
    Work,
    RelaySays(usize, &'static str),
}

fn draw(chance: &mut SmallRng) -> Step {
    let person = chance.random_range(0..PEOPLE);
    let modes = [
        OnExisting::Fail,
        OnExisting::Return,
        OnExisting::Resend,
        OnExisting::Replace,
    ];
    match chance.random_range(0..20) {
        0..=5 => Step::Create(person, *modes.choose(chance).unwrap()),
        6 | 7 => Step::Resend(person, chance.random_bool(0.5)),
        8 => Step::Accept(person),
        9 | 10 => Step::AcceptAsStranger(person),
        11 => Step::AcceptByOldLink(person),
        12 => Step::Decline(person, chance.random_bool(0.2)),
        13 => Step::Revoke(person),
        14 => Step::MonthPasses,
        15 => Step::HourPasses,
        16 | 17 => Step::Work,
        _ => Step::RelaySays(
            person,
            [TAKEN, TAKEN, LATER, UNKNOWN].choose(chance).unwrap(),
        ),
    }
}

/// The newest invitation of somebody.
#[derive(Clone)]
struct Known {
    id: String,
    token: String,
    state: InvitationState,
    expires_at: OffsetDateTime,
}

impl Known {
    fn state(&self, now: OffsetDateTime) -> InvitationState {
        match self.state {
            InvitationState::Pending if self.expires_at <= now => InvitationState::Expired,
            state => state,
        }
    }
}

/// Why an invitation in a state is not taken.
fn refusal(state: InvitationState) -> Option<&'static str> {
    match state {
        InvitationState::Expired => Some("EXPIRED"),
        InvitationState::Accepted => Some("ALREADY_ACCEPTED"),
        InvitationState::Declined => Some("DECLINED"),
        InvitationState::Revoked => Some("REVOKED"),
        _ => None,
    }
}

struct Person {
    email: String,
    user_id: String,
    known: Option<Known>,
    /// Links that were replaced, and what they say now.
    old_links: Vec<(String, &'static str)>,
    is_member: bool,
    is_suppressed: bool,
    /// Mails that were asked for; more never arrive.
    mails_max: usize,
    reply: &'static str,
}

struct Life<'a> {
    world: &'a mut World,
    pool: PgPool,
    people: Vec<Person>,
    now: OffsetDateTime,
    months: usize,
}

impl Life<'_> {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Create(person, on_existing) => self.create(person, on_existing).await,
            Step::Resend(person, rotates) => self.resend(person, rotates).await,
            Step::Accept(person) => self.accept(person).await,
            Step::AcceptAsStranger(person) => self.accept_as_stranger(person).await,
            Step::AcceptByOldLink(person) => self.accept_by_old_link(person).await,
            Step::Decline(person, suppress) => self.decline(person, suppress).await,
            Step::Revoke(person) => self.revoke(person).await,
            Step::MonthPasses if self.months == MONTHS_MAX => {}
            Step::MonthPasses => {
                self.months += 1;
                self.pass(Duration::days(31));
            }
            Step::HourPasses => self.pass(Duration::hours(1)),
            Step::Work => self.work().await,
            Step::RelaySays(person, reply) => {
                let person = &mut self.people[person];
                person.reply = reply;
                self.world.relay.refuse(&person.email, reply);
            }
        }
        self.check().await;
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.world.clock.advance(duration);
    }

    /// What the service says to an invitation of somebody; outcome, reason and, if there is one, its link.
    async fn bulk_create(
        &self,
        person: usize,
        on_existing: OnExisting,
    ) -> (CreateOutcome, String, Option<(String, String)>) {
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            return_link: true,
            ..invite_request(&[&self.people[person].email])
        };
        let answer = self.world.client().bulk_create(request).await.unwrap();
        let result = answer.into_inner().results.remove(0);
        let error = result.error.as_ref().map(ItemError::reason);
        let error = error.map(|reason| reason.as_str_name().replace("ERROR_REASON_", ""));
        let made = result.link.split_once("#token=").map(|(_, token)| {
            let id = result.invitation.as_ref().unwrap().id.clone();
            (id, token.to_owned())
        });
        (result.outcome(), error.unwrap_or_default(), made)
    }

    async fn create(&mut self, person: usize, on_existing: OnExisting) {
        let told = self.bulk_create(person, on_existing).await;
        let now = self.now;
        let who = &mut self.people[person];
        let pending = who
            .known
            .as_ref()
            .is_some_and(|known| known.state(now) == InvitationState::Pending);
        let (outcome, error) = match on_existing {
            _ if who.is_member => (CreateOutcome::Failed, "ALREADY_MEMBER"),
            OnExisting::Fail if pending => (CreateOutcome::Failed, "ALREADY_INVITED"),
            OnExisting::Return if pending => (CreateOutcome::Existing, ""),
            _ if who.is_suppressed => (CreateOutcome::Failed, "EMAIL_SUPPRESSED"),
            OnExisting::Resend if pending => (CreateOutcome::Resent, ""),
            OnExisting::Replace if pending => (CreateOutcome::Replaced, ""),
            _ => (CreateOutcome::Created, ""),
        };
        assert_eq!((told.0, told.1.as_str()), (outcome, error));
        let Some((id, token)) = told.2 else { return };
        match outcome {
            CreateOutcome::Existing => {
                let known = who.known.as_ref().unwrap();
                assert_eq!((&id, &token), (&known.id, &known.token));
            }
            CreateOutcome::Resent => {
                let known = who.known.as_mut().unwrap();
                assert_eq!((&id, &token), (&known.id, &known.token));
                known.expires_at = now + Duration::days(30);
                who.mails_max += 1;
            }
            _ => {
                if let Some(old) = who.known.take() {
                    let is_replaced = outcome == CreateOutcome::Replaced;
                    let state = old.state(now);
                    let says = if is_replaced {
                        Some("REVOKED")
                    } else {
                        refusal(state)
                    };
                    who.old_links.push((old.token, says.unwrap()));
                }
                who.mails_max += 1;
                who.known = Some(Known {
                    id,
                    token,
                    state: InvitationState::Pending,
                    expires_at: now + Duration::days(30),
                });
            }
        }
    }

    async fn resend(&mut self, person: usize, rotates: bool) {
        let Some(known) = self.people[person].known.clone() else {
            return;
        };
        let request = ResendRequest {
            organization_id: ACME.to_owned(),
            invitation_id: known.id,
            rotate_token: rotates,
            ..Default::default()
        };
        let told = self.world.client().resend(request).await;
        let state = known.state;
        let is_expired = known.expires_at <= self.now;
        let who = &mut self.people[person];
        let expected = refusal(state).or(who.is_suppressed.then_some("EMAIL_SUPPRESSED"));
        if let Some(expected) = expected {
            assert_eq!(reason(told), expected);
            return;
        }
        assert!(told.is_ok());
        who.mails_max += 1;
        who.known.as_mut().unwrap().expires_at = self.now + Duration::days(30);
        if rotates || is_expired {
            who.old_links.push((known.token, "TOKEN_INVALID"));
            let (_, _, made) = self.bulk_create(person, OnExisting::Return).await;
            self.people[person].known.as_mut().unwrap().token = made.unwrap().1;
        }
    }

    async fn accept(&mut self, person: usize) {
        let who = &self.people[person];
        let Some(known) = who.known.clone() else {
            return;
        };
        let told = self.world.accept(&known.token, &who.user_id, &who.email);
        let told = told.await;
        let state = known.state(self.now);
        let expected = refusal(state).filter(|_| state != InvitationState::Accepted);
        if let Some(expected) = expected {
            assert_eq!(reason(told), expected);
            return;
        }
        let is_again = state == InvitationState::Accepted;
        assert_eq!(told.unwrap().already_member, is_again);
        let who = &mut self.people[person];
        who.is_member = true;
        who.known.as_mut().unwrap().state = InvitationState::Accepted;
    }

    async fn accept_as_stranger(&mut self, person: usize) {
        let Some(known) = &self.people[person].known else {
            return;
        };
        let told = self.world.accept(&known.token, "stranger", "stranger@b.co");
        let expected = refusal(known.state(self.now)).unwrap_or("EMAIL_MISMATCH");
        assert_eq!(reason(told.await), expected);
    }

    async fn accept_by_old_link(&mut self, person: usize) {
        let who = &self.people[person];
        for (token, expected) in &who.old_links {
            let told = self.world.accept(token, &who.user_id, &who.email).await;
            assert_eq!(reason(told), *expected);
        }
    }

    async fn decline(&mut self, person: usize, suppress: bool) {
        let Some(known) = self.people[person].known.clone() else {
            return;
        };
        let request = DeclineRequest {
            token: known.token.clone(),
            suppress,
        };
        let told = self.world.client().decline(request).await;
        let state = known.state(self.now);
        let expected = refusal(state).filter(|_| state != InvitationState::Declined);
        if let Some(expected) = expected {
            assert_eq!(reason(told), expected);
            return;
        }
        assert!(told.is_ok());
        let who = &mut self.people[person];
        who.is_suppressed |= suppress;
        who.known.as_mut().unwrap().state = InvitationState::Declined;
    }

    async fn revoke(&mut self, person: usize) {
        let Some(known) = self.people[person].known.clone() else {
            return;
        };
        let request = RevokeRequest {
            organization_id: ACME.to_owned(),
            invitation_id: known.id.clone(),
            user_id: String::new(),
        };
        let told = self.world.client().revoke(request).await;
        match known.state(self.now) {
            InvitationState::Accepted => assert_eq!(reason(told), "ALREADY_ACCEPTED"),
            InvitationState::Pending => {
                assert!(told.is_ok());
                let known = self.people[person].known.as_mut().unwrap();
                known.state = InvitationState::Revoked;
            }
            _ => assert!(told.is_ok()),
        }
    }

    /// Delivers what is due: to those who wait, if the relay takes it, and to nobody else.
    async fn work(&mut self) {
        let before = self.world.relay.received_count();
        self.world.deliver_all().await;
        let mails = self.world.mailbox().split_off(before);
        let reached: BTreeSet<String> = mails.into_iter().map(|mail| mail.to).collect();
        for person in 0..PEOPLE {
            let who = &self.people[person];
            let Some(known) = &who.known else { continue };
            let is_waiting = known.state(self.now) == InvitationState::Pending;
            if reached.contains(&who.email) {
                assert!(is_waiting && who.reply == TAKEN && !who.is_suppressed);
            }
            let seen = self.world.get(&known.id).await;
            if seen.delivery.unwrap().state() == DeliveryState::Bounced {
                self.people[person].is_suppressed = true;
            }
        }
    }

    /// The service sees what the model sees.
    async fn check(&self) {
        let arrivals = self.world.relay.received();
        let members: Vec<String> =
            sqlx::query_scalar("SELECT user_id FROM memberships WHERE organization_id = $1")
                .bind(ACME)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        for who in &self.people {
            if let Some(known) = &who.known {
                let seen = self.world.get(&known.id).await;
                assert_eq!(seen.state(), known.state(self.now), "{}", who.email);
            }
            assert_eq!(
                members.contains(&who.user_id),
                who.is_member,
                "{}",
                who.email
            );
            let to = format!("RCPT TO:<{}>", who.email);
            let arrived = arrivals.iter().filter(|mail| mail.rcpt == to).count();
            assert!(arrived <= who.mails_max, "{}", who.email);
        }
    }
}

#[tokio::test]
async fn every_life_of_an_invitation_is_as_the_model_lives_it() {
    let sequences = number("INVITATIONS_TEST_SEQUENCES", SEQUENCES);
    let seed = number("INVITATIONS_TEST_SEED", rand::random_range(0..1 << 48));
    for sequence in 0..sequences {
        let mut world = World::start().await;
        world.may_leave_mail();
        let mut chance = SmallRng::seed_from_u64(seed + sequence);
        let people = (0..PEOPLE).map(|number| Person {
            email: format!("p{number}@b.co"),
            user_id: format!("p{number}"),
            known: None,
            old_links: Vec::new(),
            is_member: false,
            is_suppressed: false,
            mails_max: 0,
            reply: TAKEN,
        });
        let mut life = Life {
            people: people.collect(),
            now: crate::support::START,
            months: 0,
            pool: PgPool::connect(&world.database_url()).await.unwrap(),
            world: &mut world,
        };
        eprintln!("INVITATIONS_TEST_SEED={}", seed + sequence);
        for number in 0..STEPS {
            let step = draw(&mut chance);
            eprintln!("{number}: {step:?}");
            life.step(step).await;
        }
    }
}
