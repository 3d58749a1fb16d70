//! A checker: whether what concurrent calls about one invitation were told can be told by one call after the other.
//!
//! The method is that of Wing and Gong, with Lowe's memory of what was tried. A call takes effect at one moment between
//! its begin and its end. Besides, each call reads the clock once, and a call that was under way while the clock moved
//! past the invitation's expiry may have read it before or after.

use std::collections::HashSet;

/// What happened to the invitation so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Pending,
    Accepted(u8),
    Declined,
    Revoked,
}

/// The invitation as the model has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Model {
    pub(super) phase: Phase,
    pub(super) generation: u32,
    /// Whether it was sent again after the clock had moved, and lives on.
    is_renewed: bool,
}

impl Model {
    pub(super) const NEW: Self = Self {
        phase: Phase::Pending,
        generation: 1,
        is_renewed: false,
    };
}

/// What was asked. Tokens are named by the generation they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Accept {
        user: u8,
        generation: u32,
    },
    Decline {
        generation: u32,
    },
    Revoke,
    Resend {
        rotates: bool,
    },
    /// The first look of a preview: whether the token is good.
    Prove {
        generation: u32,
    },
    /// Its second look: what there is to see.
    Look,
}

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is done; for Accept also whether the user was a member before.
    Done,
    Again,
    TokenInvalid,
    Expired,
    AlreadyAccepted,
    Declined,
    Revoked,
    /// What Look saw.
    Pending,
}

/// A call and its answer, between two moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) call: Call,
    pub(super) told: Told,
    pub(super) began: u64,
    pub(super) ended: u64,
    /// An event that has to come before, by its place.
    pub(super) after: Option<usize>,
}

/// What a call does, and is told, where the clock has moved past the first expiry or has not.
fn step(model: Model, call: Call, is_late: bool) -> (Model, Told) {
    let is_expired = is_late && !model.is_renewed && model.phase == Phase::Pending;
    let refusal = match model.phase {
        Phase::Pending if is_expired => Some(Told::Expired),
        Phase::Pending => None,
        Phase::Accepted(_) => Some(Told::AlreadyAccepted),
        Phase::Declined => Some(Told::Declined),
        Phase::Revoked => Some(Told::Revoked),
    };
    let to = |phase| Model { phase, ..model };
    match call {
        Call::Accept { generation, .. }
        | Call::Decline { generation }
        | Call::Prove { generation }
            if generation != model.generation =>
        {
            (model, Told::TokenInvalid)
        }
        Call::Accept { user, .. } => match refusal {
            _ if model.phase == Phase::Accepted(user) => (model, Told::Again),
            Some(told) => (model, told),
            None => (to(Phase::Accepted(user)), Told::Done),
        },
        Call::Decline { .. } => match refusal {
            Some(Told::Declined) => (model, Told::Done),
            Some(told) => (model, told),
            None => (to(Phase::Declined), Told::Done),
        },
        Call::Revoke => match refusal {
            Some(Told::AlreadyAccepted) => (model, Told::AlreadyAccepted),
            Some(_) => (model, Told::Done),
            None => (to(Phase::Revoked), Told::Done),
        },
        Call::Resend { rotates } => match refusal {
            None | Some(Told::Expired) => {
                let renewed = Model {
                    generation: model.generation + u32::from(rotates || is_expired),
                    is_renewed: is_late,
                    ..model
                };
                (renewed, Told::Done)
            }
            Some(told) => (model, told),
        },
        Call::Prove { .. } => (model, Told::Done),
        Call::Look => (model, refusal.unwrap_or(Told::Pending)),
    }
}

/// Every state that an order of these events can end in; none if no order explains them. The clock moved between the
/// two moments of `moved`.
pub(super) fn endings(events: &[Event], moved: Option<(u64, u64)>) -> HashSet<Model> {
    assert!(events.len() <= 128, "the mask is too narrow");
    let mut search = Search {
        events,
        moved,
        seen: HashSet::new(),
        endings: HashSet::new(),
    };
    search.go(0, Model::NEW);
    search.endings
}

struct Search<'a> {
    events: &'a [Event],
    moved: Option<(u64, u64)>,
    seen: HashSet<(u128, Model)>,
    endings: HashSet<Model>,
}

impl Search<'_> {
    fn go(&mut self, done: u128, model: Model) {
        if !self.seen.insert((done, model)) {
            return;
        }
        if done.count_ones() as usize == self.events.len() {
            self.endings.insert(model);
            return;
        }
        let is_open = |at: &usize| done & 1 << at == 0;
        let earliest_end = (0..self.events.len())
            .filter(is_open)
            .map(|at| self.events[at].ended)
            .min()
            .unwrap_or(u64::MAX);
        let mut branches = Vec::new();
        for at in (0..self.events.len()).filter(is_open) {
            let event = self.events[at];
            let is_free = event.began <= earliest_end
                && event.after.is_none_or(|before| done & 1 << before != 0);
            if !is_free {
                continue;
            }
            let nexts: HashSet<Model> = self
                .lateness(event)
                .into_iter()
                .map(|is_late| step(model, event.call, is_late))
                .filter(|(_, told)| *told == event.told)
                .map(|(next, _)| next)
                .collect();
            // The same answer could come with a change only from what is done to one that waits.
            let may_change = event.told == Told::Done
                && model.phase == Phase::Pending
                && !matches!(event.call, Call::Prove { .. });
            if nexts.len() == 1 && nexts.contains(&model) && !may_change {
                // It changes nothing, so it may as well come now: no other order has to be tried.
                return self.go(done | 1 << at, model);
            }
            branches.extend(nexts.into_iter().map(|next| (done | 1 << at, next)));
        }
        for (done, next) in branches {
            self.go(done, next);
        }
    }

    /// Whether the event read the clock before or after it moved, as far as that is known.
    fn lateness(&self, event: Event) -> Vec<bool> {
        match self.moved {
            None => vec![false],
            Some((begin, _)) if event.ended < begin => vec![false],
            Some((_, end)) if event.began > end => vec![true],
            Some(_) => vec![false, true],
        }
    }
}

fn event(call: Call, told: Told, began: u64, ended: u64) -> Event {
    Event {
        call,
        told,
        began,
        ended,
        after: None,
    }
}

#[test]
fn what_can_be_told_by_one_call_after_the_other_is_found() {
    let accept = |user| Call::Accept {
        user,
        generation: 1,
    };
    // Two overlap: either may have come first, and one has won.
    let events = [
        event(accept(1), Told::Done, 0, 9),
        event(accept(2), Told::AlreadyAccepted, 0, 9),
        event(Call::Revoke, Told::AlreadyAccepted, 0, 9),
        event(accept(1), Told::Again, 10, 11),
    ];
    let endings = endings(&events, None);
    assert_eq!(endings.len(), 1);
    assert_eq!(endings.iter().next().unwrap().phase, Phase::Accepted(1));
}

#[test]
fn a_call_that_changed_nothing_may_have_been_the_one_that_did() {
    // Revoking what has expired does nothing, so the revocation came after it was sent again.
    let events = [
        event(Call::Revoke, Told::Done, 2, 20),
        event(Call::Resend { rotates: false }, Told::Done, 2, 9),
        event(
            Call::Accept {
                user: 1,
                generation: 2,
            },
            Told::Revoked,
            21,
            22,
        ),
    ];
    let endings = endings(&events, Some((0, 1)));
    assert_eq!(endings.len(), 1);
    assert_eq!(endings.iter().next().unwrap().phase, Phase::Revoked);
}

#[test]
fn what_must_not_happen_has_no_explanation() {
    let accept = |user, generation| Call::Accept { user, generation };
    let rotate = Call::Resend { rotates: true };
    let cases: [&[Event]; 8] = [
        // Two winners.
        &[
            event(accept(1, 1), Told::Done, 0, 9),
            event(accept(2, 1), Told::Done, 0, 9),
        ],
        // One user wins twice.
        &[
            event(accept(1, 1), Told::Done, 0, 9),
            event(accept(1, 1), Told::Done, 0, 9),
        ],
        // Taken after it was taken back.
        &[
            event(Call::Revoke, Told::Done, 0, 1),
            event(accept(1, 1), Told::Done, 2, 3),
        ],
        // Taken back after it was taken, both told that they did it.
        &[
            event(accept(1, 1), Told::Done, 0, 1),
            event(Call::Revoke, Told::Done, 2, 3),
        ],
        // Opened by a link that was replaced.
        &[
            event(rotate, Told::Done, 0, 1),
            event(accept(1, 1), Told::Done, 2, 3),
        ],
        // Declined and taken.
        &[
            event(Call::Decline { generation: 1 }, Told::Done, 0, 9),
            event(accept(1, 1), Told::Done, 0, 9),
        ],
        // A loser to nobody.
        &[event(accept(1, 1), Told::AlreadyAccepted, 0, 9)],
        // Sent again after it was taken.
        &[
            event(accept(1, 1), Told::Done, 0, 1),
            event(rotate, Told::Done, 2, 3),
        ],
    ];
    for (number, events) in cases.iter().enumerate() {
        assert!(endings(events, None).is_empty(), "{number}");
    }
    // In time or not: told by the clock alone.
    let late = [event(accept(1, 1), Told::Done, 5, 6)];
    assert!(endings(&late, Some((3, 4))).is_empty());
    assert_eq!(endings(&late, Some((5, 6))).len(), 1);
    assert_eq!(endings(&late, Some((7, 8))).len(), 1);
}
