//! When to try a mail again, and when to give it up.

use time::{Duration, OffsetDateTime};

use crate::entropy;

/// Most counted attempts.
pub(super) const ATTEMPTS_MAX: i32 = 18;
/// Longest time a mail is tried for, whether its attempts count or not.
pub(super) const GIVE_UP_AFTER: Duration = Duration::hours(48);
/// A mail that comes later than this before its invitation expires is of no use.
const USEFUL_BEFORE_EXPIRY: Duration = Duration::hours(1);
/// How far chance shortens a wait, so that mails that failed together do not come back together.
const JITTER: f64 = 0.2;

/// The wait for a mailbox that is full: three more tries in a day.
const FULL_MAILBOX_WAIT: Duration = Duration::hours(8);
/// Longest time a mail to a full mailbox is tried for.
const FULL_MAILBOX_GIVE_UP_AFTER: Duration = Duration::hours(24);

/// Why a mail waits, which says how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as it usually does.
    Usual,
    /// As long as the server asked for.
    Asked(std::time::Duration),
    /// Until somebody empties a mailbox.
    FullMailbox,
}

/// The waits after the first, second, … counted attempt; the last repeats. Greylisting is over within the first three.
const WAITS: [Duration; 8] = [
    Duration::seconds(30),
    Duration::minutes(2),
    Duration::minutes(5),
    Duration::minutes(15),
    Duration::minutes(30),
    Duration::hours(1),
    Duration::hours(2),
    Duration::hours(4),
];

/// When to try again after `attempts` counted attempts, or `None` to give up.
pub(super) fn next_attempt_at(
    wait: Wait,
    attempts: i32,
    retrying_since: OffsetDateTime,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let index = usize::try_from(attempts.max(1) - 1).unwrap_or(0);
    let usual = entropy::jittered(WAITS[index.min(WAITS.len() - 1)].unsigned_abs(), JITTER);
    let (pause, give_up_after) = match wait {
        Wait::Usual => (usual, GIVE_UP_AFTER),
        // Never sooner than asked for; chance comes on top.
        Wait::Asked(asked) => (asked + entropy::jittered(asked / 5, 1.0), GIVE_UP_AFTER),
        Wait::FullMailbox => (FULL_MAILBOX_WAIT.unsigned_abs(), FULL_MAILBOX_GIVE_UP_AFTER),
    };
    let next = now + pause;
    let last = (retrying_since + give_up_after).min(expires_at - USEFUL_BEFORE_EXPIRY);
    (next <= last).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

    #[test]
    fn waits_grow_and_end() {
        let far = NOW + Duration::days(30);
        for (attempts, wait) in (1..).zip(WAITS) {
            let next = next_attempt_at(Wait::Usual, attempts, NOW, far, NOW).unwrap();
            assert!(
                (wait * 0.8..=wait).contains(&(next - NOW)),
                "attempt {attempts}"
            );
        }
        assert!(next_attempt_at(Wait::Usual, 17, NOW, far, NOW).is_some());
        assert_eq!(next_attempt_at(Wait::Usual, 18, NOW, far, NOW), None);
        assert_eq!(
            next_attempt_at(Wait::Usual, 9, NOW - Duration::hours(47), far, NOW),
            None
        );
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it() {
        let asked = std::time::Duration::from_mins(5);
        let next = next_attempt_at(Wait::Asked(asked), 1, NOW, NOW + Duration::days(30), NOW);
        let wait = next.unwrap() - NOW;
        assert!((Duration::minutes(5)..=Duration::minutes(6)).contains(&wait));
    }

    #[test]
    fn a_full_mailbox_is_tried_three_times_more_in_a_day() {
        let far = NOW + Duration::days(30);
        let mut at = NOW;
        let mut tries = 0;
        while let Some(next) = next_attempt_at(Wait::FullMailbox, tries + 1, NOW, far, at) {
            at = next;
            tries += 1;
        }
        assert_eq!((tries, at - NOW), (3, Duration::hours(24)));
    }

    #[test]
    fn a_mail_that_would_come_too_late_is_given_up() {
        assert_eq!(
            next_attempt_at(Wait::Usual, 1, NOW, NOW + Duration::minutes(60), NOW),
            None
        );
        assert!(next_attempt_at(Wait::Usual, 1, NOW, NOW + Duration::minutes(61), NOW).is_some());
    }
}
