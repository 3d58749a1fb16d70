//! Chance: the only place that asks the operating system for randomness.

use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

/// Bytes that nobody can guess, straight from the operating system's generator.
///
/// # Panics
///
/// If the operating system has no randomness to give. A guessable secret would be worse.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills a buffer with such bytes: one call for a whole batch of secrets.
///
/// # Panics
///
/// As [`random_bytes`].
pub fn fill(bytes: &mut [u8]) {
    SysRng
        .try_fill_bytes(bytes)
        .expect("the operating system gives randomness once it is up");
}

/// A duration shortened by chance, by at most the given fraction: waits that must not fall in step.
#[must_use]
pub fn jittered(duration: Duration, fraction: f64) -> Duration {
    let chance = f64::from(u32::from_ne_bytes(random_bytes())) / f64::from(u32::MAX);
    duration.mul_f64(1.0 - fraction * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
    }

    #[test]
    fn a_jittered_duration_stays_within_its_fraction() {
        for _ in 0..1_000 {
            let duration = jittered(Duration::from_secs(10), 0.2);
            assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&duration));
        }
    }
}
