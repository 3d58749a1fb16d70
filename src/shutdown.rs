//! Background tasks, and the graceful shutdown of the process in bounded time.

use std::future::Future;
use std::panic::resume_unwind;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// A group of background tasks that are stopped together.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Spawns a task. It must end soon after [`Tasks::stopping`] is cancelled.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker
            .spawn(task.instrument(tracing::info_span!("task", task.name = name)));
    }

    /// Is cancelled when the tasks must end.
    pub const fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Stops all tasks. Returns `false` if some still ran after `timeout`.
    pub async fn stop(&self, timeout: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(timeout, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Runs work in a task of its own and waits for it. The work continues if the caller is cancelled, and a panic of the
/// work is resumed in the caller.
pub async fn detached<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "the task has a name and its panics are handled"
    )]
    let task = tokio::spawn(work.instrument(tracing::debug_span!("work", work.name = name)));
    match task.await {
        Ok(output) => output,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Spawns work that ends by itself and that nothing waits for.
pub fn background(name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "the task has a name")]
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
