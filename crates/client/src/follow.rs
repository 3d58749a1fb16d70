//! Follows the mails of a `send` until they are out: looks once a second.
//!
//! Only looks; whatever goes wrong here, the invitations are made, so it warns and stops looking.

use std::time::{Duration, Instant};

use tonic::Status;

use super::connection::Connection;
use super::mails::Mails;
use super::progress::Progress;
use super::retry::{RETRIES_MAX, is_retryable};
use super::status::summary;
use crate::proto::invitation_service_client::InvitationServiceClient;

/// The time between two looks.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Follows until every mail is settled, the time is up, or somebody presses Ctrl-C.
///
/// # Errors
///
/// The refusal that ended it early. The mails then hold what was known last.
pub async fn follow(
    client: &mut InvitationServiceClient<Connection>,
    mails: &mut Mails,
    timeout: Duration,
) -> Result<(), Status> {
    let started = Instant::now();
    let mut progress = None;
    let mut failures = 0;
    let result = loop {
        match mails.look(client).await {
            Ok(()) => failures = 0,
            Err(status) if failures < RETRIES_MAX && is_retryable(&status) => {
                failures += 1;
                eprintln!("GetBatch: {}; looking again", summary(&status));
            }
            Err(status) => break Err(status),
        }
        let counts = mails.counts();
        if failures == 0 {
            progress
                .get_or_insert_with(|| Progress::mails(counts.total()))
                .show_mails(counts);
            if counts.settled() == counts.total() {
                break Ok(());
            }
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            break Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL.min(left)) => {}
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted: the invitations are made and their mails go on");
                break Ok(());
            }
        }
    };
    if let Some(progress) = progress {
        progress.finish();
    }
    result
}
