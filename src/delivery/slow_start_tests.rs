//! The rule for rates against simulated relays, in steps of 10 ms and without waiting.

use super::*;

const STEP: Duration = Duration::from_millis(10);

/// A relay that accepts so many emails in a second and complains about every other one.
struct SimulatedRelay {
    limit: f64,
    tokens: f64,
}

/// A sender that always has emails to send, at most `sender_max` in a second.
struct Simulation {
    rule: SlowStart,
    relay: SimulatedRelay,
    sender_max: f64,
    now: Instant,
    tokens: f64,
    accepted: u32,
    refused: u32,
}

impl Simulation {
    fn new(relay_limit: f64) -> Self {
        Self {
            rule: SlowStart::new(None),
            relay: SimulatedRelay {
                limit: relay_limit,
                tokens: 0.0,
            },
            sender_max: 600.0,
            now: Instant::now(),
            tokens: 0.0,
            accepted: 0,
            refused: 0,
        }
    }

    /// Sends for `seconds`. Returns how many emails were accepted and refused.
    fn run(&mut self, seconds: u32) -> (u32, u32) {
        (self.accepted, self.refused) = (0, 0);
        for _ in 0..seconds * 100 {
            self.step();
        }
        (self.accepted, self.refused)
    }

    fn step(&mut self) {
        self.now += STEP;
        self.rule.grow(STEP, self.now);
        let rate = self.rule.rate().unwrap_or(f64::INFINITY);
        let rate = rate.min(self.sender_max);
        let seconds = STEP.as_secs_f64();
        self.tokens = (self.tokens + rate * seconds).min(rate.max(1.0));
        self.relay.tokens = (self.relay.tokens + self.relay.limit * seconds).min(self.relay.limit);
        while self.tokens >= 1.0 {
            self.tokens -= 1.0;
            if self.relay.tokens >= 1.0 {
                self.relay.tokens -= 1.0;
                self.rule.accept();
                self.accepted += 1;
            } else {
                self.refused += 1;
                if self.rule.complain(rate, self.now) {
                    self.tokens = 0.0;
                }
            }
        }
    }
}

#[test]
fn a_single_complaint_costs_less_than_a_few_seconds() {
    let mut simulation = Simulation::new(1e9);
    simulation.run(5);
    simulation.rule.complain(600.0, simulation.now);
    let (accepted, _) = simulation.run(5);
    assert!(accepted >= 2_000, "{accepted} of 3000 in five seconds");
}

#[test]
fn one_closed_connection_costs_nothing_and_two_in_a_row_are_a_complaint() {
    let mut simulation = Simulation::new(1e9);
    simulation.run(5);
    assert!(!simulation.rule.close(simulation.now));
    let (accepted, _) = simulation.run(4);
    assert!(accepted >= 2_399, "{accepted} of 2400 in four seconds");
    assert!(!simulation.rule.close(simulation.now), "the first again");
    simulation.step();
    assert!(simulation.rule.close(simulation.now));
}

#[test]
fn a_limit_of_the_relay_is_used_and_rarely_exceeded() {
    for limit in [2.0, 10.0, 50.0, 200.0] {
        let mut simulation = Simulation::new(limit);
        simulation.run(60);
        let (accepted, refused) = simulation.run(600);
        let possible = limit * 600.0;
        assert!(
            f64::from(accepted) > possible * 0.6,
            "{accepted} of {possible} at {limit} a second"
        );
        // A complaint each quarter of a minute, and what was in flight with it.
        assert!(refused < 100, "{refused} refused at {limit} a second");
    }
}

#[test]
fn the_rate_returns_within_seconds_after_the_relay_refused_everything() {
    let mut simulation = Simulation::new(1e9);
    simulation.run(5);
    simulation.relay.limit = 0.0;
    simulation.relay.tokens = 0.0;
    let (accepted, refused) = simulation.run(600);
    assert_eq!(accepted, 0);
    // Halving takes 20 seconds; after that, one email in two seconds shows whether the relay has recovered.
    assert!(refused < 1_600, "{refused} refused in ten minutes");
    simulation.relay.limit = 1e9;
    simulation.run(15);
    let (accepted, refused) = simulation.run(1);
    assert!(accepted > 590 && refused == 0, "{accepted} in a second");
}

#[test]
fn the_rate_returns_within_a_minute_after_the_relay_raised_its_limit() {
    let mut simulation = Simulation::new(5.0);
    simulation.run(300);
    simulation.relay.limit = 1e9;
    simulation.run(45);
    let (accepted, refused) = simulation.run(1);
    assert!(accepted > 590 && refused == 0, "{accepted} in a second");
}

#[test]
fn the_rate_stays_between_its_minimum_and_the_ceiling() {
    let (mut rule, mut now) = (SlowStart::new(Some(10.0)), Instant::now());
    for _ in 0..100 {
        now += COMPLAINT_SPAN;
        assert!(rule.complain(10.0, now));
        assert!(!rule.complain(10.0, now), "it belongs to the last one");
    }
    assert_eq!(rule.rate(), Some(RATE_MIN));
    rule.grow(QUIET_SPAN * 2, now + QUIET_SPAN * 2);
    assert_eq!(rule.rate(), Some(RATE_MIN), "nothing was accepted");
    rule.accept();
    rule.grow(QUIET_SPAN * 2, now + QUIET_SPAN * 2);
    assert_eq!(rule.rate(), Some(10.0));
}
