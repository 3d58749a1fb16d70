//! Random numbers for secrets, nonces, lease tokens and waits. No other module asks the operating system for them. Only
//! the random ends of ids come from the crate uuid, see [`ids`](crate::domain::ids).

use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

/// Unpredictable bytes of the operating system's generator. Panics without one: a predictable secret would be worse.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// As [`random_bytes`], for the secrets of a whole batch.
pub fn fill(bytes: &mut [u8]) {
    SysRng
        .try_fill_bytes(bytes)
        .expect("a running operating system has randomness");
}

/// A duration that is randomly shortened by at most the given fraction, so that several waits do not end together.
pub fn jittered(duration: Duration, fraction: f64) -> Duration {
    let random = f64::from(u32::from_ne_bytes(random_bytes())) / f64::from(u32::MAX);
    duration.mul_f64(1.0 - fraction * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_random_values_differ() {
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
