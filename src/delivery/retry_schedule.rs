//! When to retry an email, and when to give it up.

use time::{Duration, OffsetDateTime};

use crate::entropy;

pub(super) const ATTEMPTS_MAX: i32 = 18;
/// An email is given up after this time, even if its attempts did not count.
pub(super) const GIVE_UP_AFTER: Duration = Duration::hours(48);
/// An email that arrives later than this before the end of its invitation is useless.
const USEFUL_BEFORE_EXPIRY: Duration = Duration::hours(1);
/// Random jitter shortens a wait by at most this share, so that emails that failed together are not retried together.
const JITTER: f64 = 0.2;

/// The shortest and the longest wait after an attempt that does not count, unless the lane rests.
const UNCOUNTED_WAIT_MIN: Duration = Duration::seconds(1);
const UNCOUNTED_WAIT_MAX: Duration = Duration::minutes(5);

/// Three more attempts in a day.
const FULL_MAILBOX_WAIT: Duration = Duration::hours(8);
const FULL_MAILBOX_GIVE_UP_AFTER: Duration = Duration::hours(24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryWait {
    Scheduled,
    /// At least as long as the server asked for.
    Requested(std::time::Duration),
    /// Long enough for the reader to empty a full mailbox.
    FullMailbox,
}

/// The waits after the first, second, … counted attempt; the last one repeats. Greylisting ends within the first three.
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

/// The time of the next attempt after `attempts` counted attempts; `None` to give the email up.
pub(super) fn next_attempt_at(
    wait: RetryWait,
    attempts: i32,
    retrying_since: OffsetDateTime,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let index = usize::try_from(attempts.max(1) - 1).unwrap_or(0);
    let scheduled = entropy::jittered(WAITS[index.min(WAITS.len() - 1)].unsigned_abs(), JITTER);
    let (pause, give_up_after) = match wait {
        RetryWait::Scheduled => (scheduled, GIVE_UP_AFTER),
        // Never earlier than requested; the jitter only adds to the wait.
        RetryWait::Requested(wait) => (wait + entropy::jittered(wait / 5, 1.0), GIVE_UP_AFTER),
        RetryWait::FullMailbox => (FULL_MAILBOX_WAIT.unsigned_abs(), FULL_MAILBOX_GIVE_UP_AFTER),
    };
    let next = now + pause;
    let last = (retrying_since + give_up_after).min(expires_at - USEFUL_BEFORE_EXPIRY);
    (next <= last).then_some(next)
}

/// How long an email waits after an attempt that does not count: as long as it has waited so far, so that the waits
/// double.
pub(super) fn uncounted_wait(
    retrying_since: OffsetDateTime,
    now: OffsetDateTime,
) -> std::time::Duration {
    let age = now - retrying_since;
    let wait = age.clamp(UNCOUNTED_WAIT_MIN, UNCOUNTED_WAIT_MAX);
    entropy::jittered(wait.unsigned_abs(), JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

    #[test]
    fn waits_grow_until_the_email_is_given_up() {
        let far = NOW + Duration::days(30);
        for (attempts, wait) in (1..).zip(WAITS) {
            let next = next_attempt_at(RetryWait::Scheduled, attempts, NOW, far, NOW).unwrap();
            assert!(
                (wait * 0.8..=wait).contains(&(next - NOW)),
                "attempt {attempts}"
            );
        }
        assert!(next_attempt_at(RetryWait::Scheduled, 17, NOW, far, NOW).is_some());
        assert_eq!(
            next_attempt_at(RetryWait::Scheduled, 18, NOW, far, NOW),
            None
        );
        assert_eq!(
            next_attempt_at(RetryWait::Scheduled, 9, NOW - Duration::hours(47), far, NOW),
            None
        );
    }

    #[test]
    fn waits_after_attempts_that_do_not_count_double_up_to_five_minutes() {
        for (age, wait) in [(0, 1), (1, 1), (2, 2), (60, 60), (300, 300), (7_200, 300)] {
            let waited = uncounted_wait(NOW - Duration::seconds(age), NOW);
            let wait = Duration::seconds(wait);
            assert!((wait * 0.8..=wait).contains(&waited), "{waited:?}");
        }
    }

    #[test]
    fn a_requested_wait_is_kept() {
        let asked = std::time::Duration::from_mins(5);
        let next = next_attempt_at(
            RetryWait::Requested(asked),
            1,
            NOW,
            NOW + Duration::days(30),
            NOW,
        );
        let wait = next.unwrap() - NOW;
        assert!((Duration::minutes(5)..=Duration::minutes(6)).contains(&wait));
    }

    #[test]
    fn a_full_mailbox_gets_three_more_attempts_in_a_day() {
        let far = NOW + Duration::days(30);
        let mut at = NOW;
        let mut tries = 0;
        while let Some(next) = next_attempt_at(RetryWait::FullMailbox, tries + 1, NOW, far, at) {
            at = next;
            tries += 1;
        }
        assert_eq!((tries, at - NOW), (3, Duration::hours(24)));
    }

    #[test]
    fn an_email_that_would_arrive_too_late_is_given_up() {
        assert_eq!(
            next_attempt_at(
                RetryWait::Scheduled,
                1,
                NOW,
                NOW + Duration::minutes(60),
                NOW
            ),
            None
        );
        assert!(
            next_attempt_at(
                RetryWait::Scheduled,
                1,
                NOW,
                NOW + Duration::minutes(61),
                NOW
            )
            .is_some()
        );
    }
}
