//! Random sequences of calls, one after the other. The results are compared with those of a model in memory.
//!
//! `INVITATIONS_TEST_SEQUENCES` sets the number of sequences and `INVITATIONS_TEST_SEED` the random seed. A failure
//! prints the seed and the steps.

use std::collections::BTreeSet;

use invitations::proto::{
    BulkCreateRequest, CreateOutcome, DeclineRequest, DeliveryState, InvitationState, ItemError,
    OnExisting, ResendRequest,
};
use rand::prelude::IndexedRandom as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::concurrent_rounds::number_from_env;
use crate::support::{
    ACME, START, World, decline_request, invite_request, reason, resend_request, revoke_request,
};

const SEQUENCES_DEFAULT: u64 = 4;
const STEPS: usize = 40;
const PEOPLE: usize = 3;
/// A bounce suppresses an address for 180 days, so fewer months than that pass.
const MONTHS_MAX: usize = 4;
const ACCEPTED: &str = "250 2.1.5 ok";
const LATER: &str = "450 4.2.0 later";
const UNKNOWN: &str = "550 5.1.1 unknown";

#[derive(Debug, Clone, Copy)]
enum RandomStep {
    Create(usize, OnExisting),
    Resend(usize, bool),
    Accept(usize),
    AcceptWithOtherAddress(usize),
    AcceptWithOldLink(usize),
    Decline(usize, bool),
    Revoke(usize),
    MonthPasses,
    HourPasses,
    Deliver,
    SetRelayReply(usize, &'static str),
}

fn random_step(random: &mut SmallRng) -> RandomStep {
    let person = random.random_range(0..PEOPLE);
    let modes = [
        OnExisting::Fail,
        OnExisting::Return,
        OnExisting::Resend,
        OnExisting::Replace,
    ];
    match random.random_range(0..20) {
        0..=5 => RandomStep::Create(person, *modes.choose(random).unwrap()),
        6 | 7 => RandomStep::Resend(person, random.random_bool(0.5)),
        8 => RandomStep::Accept(person),
        9 | 10 => RandomStep::AcceptWithOtherAddress(person),
        11 => RandomStep::AcceptWithOldLink(person),
        12 => RandomStep::Decline(person, random.random_bool(0.2)),
        13 => RandomStep::Revoke(person),
        14 => RandomStep::MonthPasses,
        15 => RandomStep::HourPasses,
        16 | 17 => RandomStep::Deliver,
        _ => RandomStep::SetRelayReply(
            person,
            [ACCEPTED, ACCEPTED, LATER, UNKNOWN].choose(random).unwrap(),
        ),
    }
}

/// The latest invitation of a person.
#[derive(Clone)]
struct ModelInvitation {
    id: String,
    token: String,
    state: InvitationState,
    expires_at: OffsetDateTime,
}

impl ModelInvitation {
    fn state(&self, now: OffsetDateTime) -> InvitationState {
        match self.state {
            InvitationState::Pending if self.expires_at <= now => InvitationState::Expired,
            state => state,
        }
    }
}

/// Returns the reason why an invitation in this state cannot be accepted.
fn refusal(state: InvitationState) -> Option<&'static str> {
    match state {
        InvitationState::Expired => Some("INVITATION_EXPIRED"),
        InvitationState::Accepted => Some("ALREADY_ACCEPTED"),
        InvitationState::Declined => Some("INVITATION_DECLINED"),
        InvitationState::Revoked => Some("INVITATION_REVOKED"),
        _ => None,
    }
}

struct ModelPerson {
    email: String,
    user_id: String,
    invitation: Option<ModelInvitation>,
    /// Tokens of replaced links, and the reason with which they are refused.
    old_tokens: Vec<(String, &'static str)>,
    is_member: bool,
    is_suppressed: bool,
    /// How many emails were requested. No more than that may arrive.
    emails_max: usize,
    /// The reply of the relay to this recipient.
    reply: &'static str,
}

impl ModelPerson {
    /// Returns the outcome of an invitation, and the reason of its error.
    fn expected_outcome(
        &self,
        on_existing: OnExisting,
        now: OffsetDateTime,
    ) -> (CreateOutcome, &'static str) {
        let is_pending = self
            .invitation
            .as_ref()
            .is_some_and(|invitation| invitation.state(now) == InvitationState::Pending);
        match on_existing {
            _ if self.is_member => (CreateOutcome::Failed, "ALREADY_MEMBER"),
            OnExisting::Fail if is_pending => (CreateOutcome::Failed, "ALREADY_INVITED"),
            OnExisting::Return if is_pending => (CreateOutcome::Existing, ""),
            _ if self.is_suppressed => (CreateOutcome::Failed, "EMAIL_SUPPRESSED"),
            OnExisting::Resend if is_pending => (CreateOutcome::Resent, ""),
            OnExisting::Replace if is_pending => (CreateOutcome::Replaced, ""),
            _ => (CreateOutcome::Created, ""),
        }
    }
}

/// The model, and the service that it is compared with.
struct ModelRun<'a> {
    world: &'a mut World,
    pool: PgPool,
    people: Vec<ModelPerson>,
    now: OffsetDateTime,
    months: usize,
}

impl ModelRun<'_> {
    async fn step(&mut self, step: RandomStep) {
        match step {
            RandomStep::Create(person, on_existing) => self.create(person, on_existing).await,
            RandomStep::Resend(person, rotates) => self.resend(person, rotates).await,
            RandomStep::Accept(person) => self.accept(person).await,
            RandomStep::AcceptWithOtherAddress(person) => {
                self.accept_with_other_address(person).await;
            }
            RandomStep::AcceptWithOldLink(person) => self.accept_with_old_link(person).await,
            RandomStep::Decline(person, suppress) => self.decline(person, suppress).await,
            RandomStep::Revoke(person) => self.revoke(person).await,
            RandomStep::MonthPasses if self.months == MONTHS_MAX => {}
            RandomStep::MonthPasses => {
                self.months += 1;
                self.pass(Duration::days(31));
            }
            RandomStep::HourPasses => self.pass(Duration::hours(1)),
            RandomStep::Deliver => self.deliver().await,
            RandomStep::SetRelayReply(person, reply) => {
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

    /// Invites a person. Returns the outcome, the reason of an error, and the id and token if the response has a link.
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
        let created = result.link.split_once("#token=").map(|(_, token)| {
            let id = result.invitation.as_ref().unwrap().id.clone();
            (id, token.to_owned())
        });
        (result.outcome(), error.unwrap_or_default(), created)
    }

    async fn create(&mut self, person: usize, on_existing: OnExisting) {
        let (outcome, error, created) = self.bulk_create(person, on_existing).await;
        let now = self.now;
        let expected = self.people[person].expected_outcome(on_existing, now);
        assert_eq!((outcome, error.as_str()), expected);
        let Some((id, token)) = created else { return };
        let person = &mut self.people[person];
        match outcome {
            CreateOutcome::Existing => {
                let invitation = person.invitation.as_ref().unwrap();
                assert_eq!((&id, &token), (&invitation.id, &invitation.token));
            }
            CreateOutcome::Resent => {
                let invitation = person.invitation.as_mut().unwrap();
                assert_eq!((&id, &token), (&invitation.id, &invitation.token));
                invitation.expires_at = now + Duration::days(30);
                person.emails_max += 1;
            }
            _ => {
                if let Some(old) = person.invitation.take() {
                    let is_replaced = outcome == CreateOutcome::Replaced;
                    let reason = if is_replaced {
                        Some("INVITATION_REVOKED")
                    } else {
                        refusal(old.state(now))
                    };
                    person.old_tokens.push((old.token, reason.unwrap()));
                }
                person.emails_max += 1;
                person.invitation = Some(ModelInvitation {
                    id,
                    token,
                    state: InvitationState::Pending,
                    expires_at: now + Duration::days(30),
                });
            }
        }
    }

    async fn resend(&mut self, person: usize, rotates: bool) {
        let Some(invitation) = self.people[person].invitation.clone() else {
            return;
        };
        let request = ResendRequest {
            rotate_token: rotates,
            ..resend_request(&invitation.id)
        };
        let answer = self.world.client().resend(request).await;
        let is_expired = invitation.expires_at <= self.now;
        let model = &mut self.people[person];
        let suppressed = model.is_suppressed.then_some("EMAIL_SUPPRESSED");
        if let Some(expected) = refusal(invitation.state).or(suppressed) {
            assert_eq!(reason(answer), expected);
            return;
        }
        assert!(answer.is_ok());
        model.emails_max += 1;
        model.invitation.as_mut().unwrap().expires_at = self.now + Duration::days(30);
        if rotates || is_expired {
            model.old_tokens.push((invitation.token, "TOKEN_INVALID"));
            let (_, _, returned) = self.bulk_create(person, OnExisting::Return).await;
            let (_, token) = returned.unwrap();
            self.people[person].invitation.as_mut().unwrap().token = token;
        }
    }

    async fn accept(&mut self, person: usize) {
        let model = &self.people[person];
        let Some(invitation) = model.invitation.clone() else {
            return;
        };
        let accept = self
            .world
            .accept(&invitation.token, &model.user_id, &model.email);
        let answer = accept.await;
        let state = invitation.state(self.now);
        let is_repeated = state == InvitationState::Accepted;
        if let Some(expected) = refusal(state).filter(|_| !is_repeated) {
            assert_eq!(reason(answer), expected);
            return;
        }
        assert_eq!(answer.unwrap().already_member, is_repeated);
        let model = &mut self.people[person];
        model.is_member = true;
        model.invitation.as_mut().unwrap().state = InvitationState::Accepted;
    }

    async fn accept_with_other_address(&mut self, person: usize) {
        let Some(invitation) = &self.people[person].invitation else {
            return;
        };
        let token = &invitation.token;
        let answer = self.world.accept(token, "stranger", "stranger@b.co").await;
        let expected = refusal(invitation.state(self.now)).unwrap_or("EMAIL_MISMATCH");
        assert_eq!(reason(answer), expected);
    }

    async fn accept_with_old_link(&mut self, person: usize) {
        let model = &self.people[person];
        for (token, expected) in &model.old_tokens {
            let accept = self.world.accept(token, &model.user_id, &model.email);
            assert_eq!(reason(accept.await), *expected);
        }
    }

    async fn decline(&mut self, person: usize, suppress: bool) {
        let Some(invitation) = self.people[person].invitation.clone() else {
            return;
        };
        let request = DeclineRequest {
            suppress,
            ..decline_request(&invitation.token)
        };
        let answer = self.world.client().decline(request).await;
        let state = invitation.state(self.now);
        let is_repeated = state == InvitationState::Declined;
        if let Some(expected) = refusal(state).filter(|_| !is_repeated) {
            assert_eq!(reason(answer), expected);
            return;
        }
        assert!(answer.is_ok());
        let model = &mut self.people[person];
        model.is_suppressed |= suppress;
        model.invitation.as_mut().unwrap().state = InvitationState::Declined;
    }

    async fn revoke(&mut self, person: usize) {
        let Some(invitation) = self.people[person].invitation.clone() else {
            return;
        };
        let request = revoke_request(&invitation.id);
        let answer = self.world.client().revoke(request).await;
        match invitation.state(self.now) {
            InvitationState::Accepted => assert_eq!(reason(answer), "ALREADY_ACCEPTED"),
            InvitationState::Pending => {
                assert!(answer.is_ok());
                let invitation = self.people[person].invitation.as_mut().unwrap();
                invitation.state = InvitationState::Revoked;
            }
            _ => assert!(answer.is_ok()),
        }
    }

    /// Delivers the emails that are due. Only people with a pending invitation may receive one, and only if the relay
    /// accepts them.
    async fn deliver(&mut self) {
        let before = self.world.relay.received_count();
        self.world.deliver_all().await;
        let mails = self.world.mailbox().split_off(before);
        let reached: BTreeSet<String> = mails.into_iter().map(|mail| mail.to).collect();
        for person in &mut self.people {
            let Some(invitation) = &person.invitation else {
                continue;
            };
            let is_pending = invitation.state(self.now) == InvitationState::Pending;
            if reached.contains(&person.email) {
                assert!(is_pending && person.reply == ACCEPTED && !person.is_suppressed);
            }
            let stored = self.world.get(&invitation.id).await;
            if stored.delivery.unwrap().state() == DeliveryState::Bounced {
                person.is_suppressed = true;
            }
        }
    }

    /// Asserts that the service agrees with the model.
    async fn check(&self) {
        let arrivals = self.world.relay.received();
        let members: Vec<String> =
            sqlx::query_scalar("SELECT user_id FROM memberships WHERE organization_id = $1")
                .bind(ACME)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        for person in &self.people {
            let email = &person.email;
            if let Some(invitation) = &person.invitation {
                let stored = self.world.get(&invitation.id).await;
                assert_eq!(stored.state(), invitation.state(self.now), "{email}");
            }
            let is_member = members.contains(&person.user_id);
            assert_eq!(is_member, person.is_member, "{email}");
            let to = format!("RCPT TO:<{email}>");
            let arrived = arrivals.iter().filter(|mail| mail.rcpt == to).count();
            assert!(arrived <= person.emails_max, "{email}");
        }
    }
}

#[tokio::test]
async fn random_sequences_of_calls_agree_with_a_model() {
    let sequences = number_from_env("INVITATIONS_TEST_SEQUENCES", SEQUENCES_DEFAULT);
    let seed = number_from_env("INVITATIONS_TEST_SEED", rand::random_range(0..1 << 48));
    for sequence in 0..sequences {
        let mut world = World::start().await;
        world.may_leave_mail();
        let mut random = SmallRng::seed_from_u64(seed + sequence);
        let people = (0..PEOPLE).map(|number| ModelPerson {
            email: format!("p{number}@b.co"),
            user_id: format!("p{number}"),
            invitation: None,
            old_tokens: Vec::new(),
            is_member: false,
            is_suppressed: false,
            emails_max: 0,
            reply: ACCEPTED,
        });
        let mut run = ModelRun {
            people: people.collect(),
            now: START,
            months: 0,
            pool: PgPool::connect(&world.database_url()).await.unwrap(),
            world: &mut world,
        };
        eprintln!("INVITATIONS_TEST_SEED={}", seed + sequence);
        for number in 0..STEPS {
            let step = random_step(&mut random);
            eprintln!("{number}: {step:?}");
            run.step(step).await;
        }
    }
}
