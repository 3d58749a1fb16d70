//! A linearizability checker: it decides whether the results of concurrent operations on one invitation can also result
//! from some sequential order of the operations.
//!
//! The algorithm is that of Wing and Gong with Lowe's cache of visited states. An operation takes effect at one moment
//! between its begin and its end. Each operation also reads the clock once. While the clock moves past the expiry of the
//! invitation, an operation may read the time before or after.

use std::collections::HashSet;

/// The state of the invitation. `Accepted` holds the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Pending,
    Accepted(u8),
    Declined,
    Revoked,
}

/// The model of the invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Model {
    pub(super) phase: Phase,
    pub(super) generation: u32,
    /// Whether it was resent after the clock had moved, and so has not expired.
    is_renewed: bool,
}

impl Model {
    pub(super) const NEW: Self = Self {
        phase: Phase::Pending,
        generation: 1,
        is_renewed: false,
    };
}

/// An operation on the invitation. A token is identified by its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
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
    /// The first step of a preview: verifies the token.
    VerifyToken {
        generation: u32,
    },
    /// The second step of a preview: reads the state.
    ReadState,
}

/// The result of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperationResult {
    Done,
    /// The user of an Accept was a member before.
    AlreadyMember,
    TokenInvalid,
    Expired,
    AlreadyAccepted,
    Declined,
    Revoked,
    /// Only `ReadState` returns this.
    Pending,
}

/// An operation, its result, and the logical times at which it began and ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompletedOperation {
    pub(super) operation: Operation,
    pub(super) result: OperationResult,
    pub(super) began: u64,
    pub(super) ended: u64,
    /// The index of an operation that must take effect before this one.
    pub(super) after: Option<usize>,
}

/// Applies an operation. `is_late` states whether the operation reads a time after the first expiry.
fn apply(model: Model, operation: Operation, is_late: bool) -> (Model, OperationResult) {
    let is_expired = is_late && !model.is_renewed && model.phase == Phase::Pending;
    let refusal = match model.phase {
        Phase::Pending if is_expired => Some(OperationResult::Expired),
        Phase::Pending => None,
        Phase::Accepted(_) => Some(OperationResult::AlreadyAccepted),
        Phase::Declined => Some(OperationResult::Declined),
        Phase::Revoked => Some(OperationResult::Revoked),
    };
    let to = |phase| Model { phase, ..model };
    match operation {
        Operation::Accept { generation, .. }
        | Operation::Decline { generation }
        | Operation::VerifyToken { generation }
            if generation != model.generation =>
        {
            (model, OperationResult::TokenInvalid)
        }
        Operation::Accept { user, .. } => match refusal {
            _ if model.phase == Phase::Accepted(user) => (model, OperationResult::AlreadyMember),
            Some(refusal) => (model, refusal),
            None => (to(Phase::Accepted(user)), OperationResult::Done),
        },
        Operation::Decline { .. } => match refusal {
            Some(OperationResult::Declined) => (model, OperationResult::Done),
            Some(refusal) => (model, refusal),
            None => (to(Phase::Declined), OperationResult::Done),
        },
        Operation::Revoke => match refusal {
            Some(OperationResult::AlreadyAccepted) => (model, OperationResult::AlreadyAccepted),
            Some(_) => (model, OperationResult::Done),
            None => (to(Phase::Revoked), OperationResult::Done),
        },
        Operation::Resend { rotates } => match refusal {
            None | Some(OperationResult::Expired) => {
                let renewed = Model {
                    generation: model.generation + u32::from(rotates || is_expired),
                    is_renewed: is_late,
                    ..model
                };
                (renewed, OperationResult::Done)
            }
            Some(refusal) => (model, refusal),
        },
        Operation::VerifyToken { .. } => (model, OperationResult::Done),
        Operation::ReadState => (model, refusal.unwrap_or(OperationResult::Pending)),
    }
}

/// Returns the final states of all sequential orders that explain the history, or none if no order does. The clock moved
/// between the two times of `moved`.
pub(super) fn final_states(
    history: &[CompletedOperation],
    moved: Option<(u64, u64)>,
) -> HashSet<Model> {
    assert!(history.len() <= 128, "the mask is too narrow");
    let mut search = OrderSearch {
        history,
        moved,
        visited: HashSet::new(),
        final_states: HashSet::new(),
    };
    search.visit(0, Model::NEW);
    search.final_states
}

struct OrderSearch<'a> {
    history: &'a [CompletedOperation],
    moved: Option<(u64, u64)>,
    /// The operations that have taken effect, as a bit mask, with the state after them.
    visited: HashSet<(u128, Model)>,
    final_states: HashSet<Model>,
}

impl OrderSearch<'_> {
    fn visit(&mut self, done: u128, model: Model) {
        if !self.visited.insert((done, model)) {
            return;
        }
        if done.count_ones() as usize == self.history.len() {
            self.final_states.insert(model);
            return;
        }
        let is_open = |at: &usize| done & 1 << at == 0;
        let earliest_end = (0..self.history.len())
            .filter(is_open)
            .map(|at| self.history[at].ended)
            .min()
            .unwrap_or(u64::MAX);
        let mut branches = Vec::new();
        for at in (0..self.history.len()).filter(is_open) {
            let next = self.history[at];
            let may_be_next = next.began <= earliest_end
                && next.after.is_none_or(|before| done & 1 << before != 0);
            if !may_be_next {
                continue;
            }
            let states: HashSet<Model> = self
                .lateness(next)
                .into_iter()
                .map(|is_late| apply(model, next.operation, is_late))
                .filter(|(_, result)| *result == next.result)
                .map(|(state, _)| state)
                .collect();
            // In another order the same result could come with a change of the state. That is possible only for a
            // successful operation on a pending invitation.
            let may_change = next.result == OperationResult::Done
                && model.phase == Phase::Pending
                && !matches!(next.operation, Operation::VerifyToken { .. });
            if states.len() == 1 && states.contains(&model) && !may_change {
                // The operation changes nothing in any order, so no other order has to be tried.
                return self.visit(done | 1 << at, model);
            }
            branches.extend(states.into_iter().map(|state| (done | 1 << at, state)));
        }
        for (done, state) in branches {
            self.visit(done, state);
        }
    }

    /// Whether the operation may have read the time before the clock moved (`false`), after it (`true`), or both.
    fn lateness(&self, operation: CompletedOperation) -> Vec<bool> {
        match self.moved {
            None => vec![false],
            Some((begin, _)) if operation.ended < begin => vec![false],
            Some((_, end)) if operation.began > end => vec![true],
            Some(_) => vec![false, true],
        }
    }
}

fn completed(
    operation: Operation,
    result: OperationResult,
    began: u64,
    ended: u64,
) -> CompletedOperation {
    CompletedOperation {
        operation,
        result,
        began,
        ended,
        after: None,
    }
}

#[test]
fn a_linearizable_history_has_an_explanation() {
    let accept = |user| Operation::Accept {
        user,
        generation: 1,
    };
    // Two accepts overlap. Either may have been first, and one of them succeeded.
    let history = [
        completed(accept(1), OperationResult::Done, 0, 9),
        completed(accept(2), OperationResult::AlreadyAccepted, 0, 9),
        completed(Operation::Revoke, OperationResult::AlreadyAccepted, 0, 9),
        completed(accept(1), OperationResult::AlreadyMember, 10, 11),
    ];
    let states = final_states(&history, None);
    assert_eq!(states.len(), 1);
    assert_eq!(states.iter().next().unwrap().phase, Phase::Accepted(1));
}

#[test]
fn a_successful_call_may_have_changed_the_state_or_not() {
    // Revoking an expired invitation changes nothing, so the revocation took effect after the resend.
    let history = [
        completed(Operation::Revoke, OperationResult::Done, 2, 20),
        completed(
            Operation::Resend { rotates: false },
            OperationResult::Done,
            2,
            9,
        ),
        completed(
            Operation::Accept {
                user: 1,
                generation: 2,
            },
            OperationResult::Revoked,
            21,
            22,
        ),
    ];
    let states = final_states(&history, Some((0, 1)));
    assert_eq!(states.len(), 1);
    assert_eq!(states.iter().next().unwrap().phase, Phase::Revoked);
}

#[test]
fn a_history_that_is_not_linearizable_has_no_explanation() {
    let accept = |user, generation| Operation::Accept { user, generation };
    let rotate = Operation::Resend { rotates: true };
    let cases: [&[CompletedOperation]; 8] = [
        // Two users accept.
        &[
            completed(accept(1, 1), OperationResult::Done, 0, 9),
            completed(accept(2, 1), OperationResult::Done, 0, 9),
        ],
        // One user becomes a member twice.
        &[
            completed(accept(1, 1), OperationResult::Done, 0, 9),
            completed(accept(1, 1), OperationResult::Done, 0, 9),
        ],
        // Accepted after it was revoked.
        &[
            completed(Operation::Revoke, OperationResult::Done, 0, 1),
            completed(accept(1, 1), OperationResult::Done, 2, 3),
        ],
        // Revoked after it was accepted, and both succeeded.
        &[
            completed(accept(1, 1), OperationResult::Done, 0, 1),
            completed(Operation::Revoke, OperationResult::Done, 2, 3),
        ],
        // Accepted by a replaced link.
        &[
            completed(rotate, OperationResult::Done, 0, 1),
            completed(accept(1, 1), OperationResult::Done, 2, 3),
        ],
        // Declined and accepted.
        &[
            completed(
                Operation::Decline { generation: 1 },
                OperationResult::Done,
                0,
                9,
            ),
            completed(accept(1, 1), OperationResult::Done, 0, 9),
        ],
        // Refused as accepted, although no accept succeeded.
        &[completed(
            accept(1, 1),
            OperationResult::AlreadyAccepted,
            0,
            9,
        )],
        // Resent after it was accepted.
        &[
            completed(accept(1, 1), OperationResult::Done, 0, 1),
            completed(rotate, OperationResult::Done, 2, 3),
        ],
    ];
    for (number, history) in cases.iter().enumerate() {
        assert!(final_states(history, None).is_empty(), "{number}");
    }
    // Only the time of the clock decides whether this accept could succeed.
    let late = [completed(accept(1, 1), OperationResult::Done, 5, 6)];
    assert!(final_states(&late, Some((3, 4))).is_empty());
    assert_eq!(final_states(&late, Some((5, 6))).len(), 1);
    assert_eq!(final_states(&late, Some((7, 8))).len(), 1);
}
