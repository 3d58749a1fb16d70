//! Readiness: whether a process may answer calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether calls may be answered. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Release);
    }
}
