//! Waits until all emails of a list are sent or failed. It checks once a second.

use std::time::{Duration, Instant};

use tonic::Status;

use crate::connection::{InvitationClient, RETRIES_MAX, is_retryable, summary};
use crate::send::delivery_tracker::DeliveryTracker;
use crate::send::progress::Progress;

pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until every email is settled, the timeout passes, or the user presses Ctrl-C.
///
/// # Errors
///
/// The status of a rejected call. The tracker then has the counts of the last successful one.
pub(crate) async fn wait_for_deliveries(
    client: &mut InvitationClient,
    deliveries: &mut DeliveryTracker,
    timeout: Duration,
) -> Result<(), Status> {
    let started = Instant::now();
    let mut progress = None;
    let mut failures = 0;
    let result = loop {
        match deliveries.update(client).await {
            Ok(()) => {
                failures = 0;
                let counts = deliveries.counts();
                progress
                    .get_or_insert_with(|| Progress::new(Some(counts.total())))
                    .show_deliveries(counts);
                if counts.is_settled() {
                    break Ok(());
                }
            }
            Err(status) if failures < RETRIES_MAX && is_retryable(&status) => {
                failures += 1;
                eprintln!("GetBatch: {}; retrying", summary(&status));
            }
            Err(status) => break Err(status),
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            break Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL.min(left)) => {}
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted; the invitations exist, and the server continues to send the emails");
                break Ok(());
            }
        }
    };
    if let Some(progress) = progress {
        progress.finish();
    }
    result
}
