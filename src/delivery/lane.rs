//! Whether the relay may be used: after a fault that concerns the relay and not a mail, it is left alone for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// The state of the way to the relay, shared by all attempts of a worker.
#[derive(Debug)]
pub(super) struct Lane {
    first_pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Lane {
    /// An open lane.
    pub(super) fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            state: Mutex::default(),
        }
    }

    /// Until when the relay is left alone; `None` if it may be used.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed_until.filter(|until| *until > Instant::now())
    }

    /// The relay took a mail, or refused one for the mail's own sake: it works.
    pub(super) fn works(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // What was in flight when the relay failed says nothing about the relay since.
        if state
            .closed_until
            .is_none_or(|until| until <= Instant::now())
        {
            *state = State::default();
        }
    }

    /// The relay failed; returns how long it is left alone now. Failures of mails in flight at once count as one.
    pub(super) fn failed(&self) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(until) = state.closed_until.filter(|until| *until > now) {
            return until - now;
        }
        let pause = (self.first_pause * 2_u32.saturating_pow(state.failures)).min(PAUSE_MAX);
        state.failures = (state.failures + 1).min(16);
        state.closed_until = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_the_relay_works_again() {
        let lane = Lane::new(Duration::from_secs(30));
        assert_eq!(lane.closed_until(), None);
        assert_eq!(lane.failed(), Duration::from_secs(30));
        assert_eq!(
            lane.failed(),
            Duration::from_secs(30),
            "another mail of the same moment"
        );
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(lane.closed_until(), None);
        assert_eq!(lane.failed(), Duration::from_mins(1));
        lane.works();
        assert!(
            lane.closed_until().is_some(),
            "a success in flight does not open it"
        );
        tokio::time::advance(Duration::from_secs(61)).await;
        lane.works();
        assert_eq!(lane.closed_until(), None);
        assert_eq!(lane.failed(), Duration::from_secs(30));
    }
}
