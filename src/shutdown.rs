//! How tasks start and how the process ends: in order, and in bounded time.

use std::future::Future;
use std::panic::resume_unwind;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Starts background tasks and ends them together.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task; it must end soon after [`Tasks::stopping`] is cancelled.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker
            .spawn(task.instrument(tracing::info_span!("task", task.name = name)));
    }

    /// Cancelled when the tasks have to end.
    #[must_use]
    pub const fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Ends every task; `false` if some were still busy after `timeout`.
    pub async fn stop(&self, timeout: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(timeout, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Runs a unit of work in a task of its own and waits for it: whoever stops waiting does not stop the work.
///
/// A panic of the work goes on in whoever waits.
pub async fn detached<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that detaches work"
    )]
    let task = tokio::spawn(work.instrument(tracing::debug_span!("work", work.name = name)));
    match task.await {
        Ok(output) => output,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Starts work that ends by itself, soon or when its caller has gone, and that nobody waits for.
pub fn background(name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that leaves work to itself"
    )]
    drop(tokio::spawn(
        work.instrument(tracing::debug_span!("work", work.name = name)),
    ));
}

/// Waits for SIGTERM or SIGINT.
pub async fn requested() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
