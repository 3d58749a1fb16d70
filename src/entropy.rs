//! Chance for what lives outside the server: tokens, keys and request ids that commands make.
//!
//! The only place that asks the operating system for randomness. The server's own chance is a parameter and does not
//! come from here, and nothing here can be seeded.

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
    SysRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system gives randomness once it is up");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
    }
}
