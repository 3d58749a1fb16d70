//! The random tasks of a round.

use rand::RngExt as _;
use rand::prelude::{IndexedRandom as _, SliceRandom as _};
use rand::rngs::SmallRng;

/// The possible numbers of tasks in a round.
const TASK_COUNTS: [usize; 6] = [16, 16, 20, 24, 32, 64];
/// How many users try to accept.
const USERS: u8 = 5;

/// A task of a round. All tasks of a round run concurrently.
#[derive(Debug, Clone, Copy)]
pub(super) enum RoundTask {
    Accept(u8),
    Decline,
    Revoke,
    Resend,
    /// Resends with a new link, then accepts with that link.
    Rotate(u8),
    Preview,
    /// Moves the clock past the expiry.
    Expire,
}

/// Chooses the tasks of a round: mostly accepts, and a few operations that conflict with them.
pub(super) fn random_tasks(random: &mut SmallRng) -> Vec<RoundTask> {
    let count = *TASK_COUNTS.choose(random).unwrap();
    let mut tasks = Vec::new();
    if random.random_bool(0.3) {
        tasks.push(RoundTask::Expire);
    }
    for _ in 0..random.random_range(0..=3) {
        tasks.push(RoundTask::Rotate(random.random_range(0..USERS)));
    }
    for _ in 0..random.random_range(0..=2) {
        tasks.push(RoundTask::Resend);
    }
    let sometimes = |random: &mut SmallRng, task| random.random_bool(0.4).then_some(task);
    tasks.extend(sometimes(random, RoundTask::Revoke));
    tasks.extend(sometimes(random, RoundTask::Decline));
    let users = if random.random_bool(0.3) { 1 } else { USERS };
    while tasks.len() < count {
        let task = match random.random_range(0..10) {
            0 => RoundTask::Preview,
            1 if users > 1 => RoundTask::Decline,
            2 if users > 1 => RoundTask::Revoke,
            _ => RoundTask::Accept(random.random_range(0..users)),
        };
        tasks.push(task);
    }
    tasks.shuffle(random);
    tasks
}
