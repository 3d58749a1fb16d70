//! Waiting for something that another process does.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for something that must happen. Much longer than necessary, for a busy machine.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(40);

/// Waits until a condition holds. Fails after [`WAIT_MAX`] and names `what` was expected.
pub(crate) async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
