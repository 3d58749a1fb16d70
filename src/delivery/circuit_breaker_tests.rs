//! The circuit breaker with a clock that stands still.

use super::*;

const PAUSE: Duration = Duration::from_secs(5);

fn breaker() -> CircuitBreaker {
    CircuitBreaker::new(PAUSE, 1)
}

/// A breaker of a lane that rests since now.
fn resting() -> CircuitBreaker {
    let breaker = breaker();
    assert!(!breaker.record_failure() && breaker.record_failure());
    breaker
}

#[tokio::test(start_paused = true)]
async fn only_failures_in_a_row_rest_the_lane() {
    let breaker = breaker();
    for _ in 0..100 {
        assert!(!breaker.record_failure());
        assert!(!breaker.record_judgement(), "the lane did not rest");
    }
    assert!(breaker.is_working());
    assert!(!breaker.record_failure());
    assert!(breaker.record_failure());
    assert!(!breaker.record_failure(), "it rests already");
    assert!(!breaker.is_working());
    assert_eq!(breaker.available_at(), Some(Instant::now() + PAUSE));
}

#[tokio::test(start_paused = true)]
async fn a_resting_lane_gets_one_email_for_each_pause_however_long_it_rests() {
    let breaker = resting();
    for _ in 0..1_000 {
        assert_eq!(breaker.available_at(), Some(Instant::now() + PAUSE));
        tokio::time::advance(PAUSE).await;
        assert_eq!(breaker.available_at(), None);
        breaker.begin_send();
        assert_eq!(
            breaker.available_at(),
            Some(Instant::now() + PAUSE),
            "there is one probe at a time"
        );
        breaker.record_failure();
    }
}

#[tokio::test(start_paused = true)]
async fn a_judgement_ends_the_rest_at_once() {
    let breaker = resting();
    assert!(breaker.record_judgement());
    assert!(breaker.is_working() && breaker.available_at().is_none());
    assert!(!breaker.record_failure(), "failures are counted from zero");
}

#[tokio::test(start_paused = true)]
async fn temporary_answers_in_a_row_rest_the_lane() {
    for (suspicion, count) in [(Suspicion::Server, 5), (Suspicion::Unclear, 20)] {
        let breaker = breaker();
        for _ in 1..count {
            assert!(!breaker.record_temporary(suspicion));
        }
        breaker.record_judgement();
        for _ in 1..count {
            assert!(!breaker.record_temporary(suspicion), "counted from zero");
        }
        assert!(breaker.record_temporary(suspicion));
        assert!(!breaker.is_working());
    }
}

#[tokio::test(start_paused = true)]
async fn closings_double_until_an_email_is_judged() {
    let breaker = breaker();
    let first = PAUSE * CLOSED_PAUSES;
    assert_eq!(breaker.close(), Some(first));
    assert_eq!(breaker.close(), None, "an email in flight at the same time");
    assert!(!breaker.record_judgement(), "an email in flight");
    assert_eq!(breaker.available_at(), Some(Instant::now() + first));
    tokio::time::advance(first).await;
    assert_eq!(breaker.available_at(), None);
    assert!(!breaker.is_working(), "one email probes it");
    assert_eq!(breaker.close(), Some(first * 2));
    for _ in 0..10 {
        tokio::time::advance(CLOSED_MAX).await;
        breaker.close();
    }
    assert_eq!(
        breaker.available_at(),
        Some(Instant::now() + CLOSED_MAX),
        "no closing lasts longer"
    );
    tokio::time::advance(CLOSED_MAX).await;
    assert!(breaker.record_judgement());
    assert_eq!(breaker.close(), Some(first));
}

#[tokio::test(start_paused = true)]
async fn policy_refusals_of_half_of_the_emails_close_the_lane() {
    let breaker = breaker();
    for _ in 0..9 {
        assert_eq!(breaker.count_policy_refusals(true), None);
        assert_eq!(breaker.count_policy_refusals(false), None);
    }
    assert_eq!(breaker.count_policy_refusals(false), None);
    let first = PAUSE * CLOSED_PAUSES;
    assert_eq!(breaker.count_policy_refusals(true), Some(first));
    tokio::time::advance(first).await;
    for _ in 0..9 {
        assert_eq!(
            breaker.count_policy_refusals(true),
            None,
            "the count starts again after a closing"
        );
    }
    assert_eq!(breaker.count_policy_refusals(true), Some(first * 2));
}

#[tokio::test(start_paused = true)]
async fn times_that_a_working_relay_requests_do_not_grow() {
    let breaker = breaker();
    for _ in 0..3 {
        breaker.close_for(PAUSE);
        breaker.close_for(PAUSE / 2);
        assert!(!breaker.is_working());
        assert_eq!(breaker.available_at(), Some(Instant::now() + PAUSE));
        tokio::time::advance(PAUSE).await;
        assert!(breaker.is_working());
    }
}
