//! Sends one email over a session: read again, build, send, settle.

use std::error::Error;

use super::delivery_context::DeliveryContext;
use super::job_reader::refresh_jobs;
use super::lane::Lane;
use super::send_job::SendJob;
use super::send_outcome;
use crate::mail::message::Composer;
use crate::mail::transport::TransportSession;

/// Attempts an email once and settles it. Returns the session for the next email.
pub(super) async fn send(
    context: &DeliveryContext,
    lane: &Lane,
    mut session: TransportSession,
    job: SendJob,
) -> TransportSession {
    let jobs = refresh_jobs(context, vec![job]).await;
    // After a failure the lease expires, and another worker retries the email.
    let jobs = jobs.unwrap_or_else(|error| {
        let error: &dyn Error = &error;
        tracing::warn!(error, "cannot read an email again before it is sent");
        Vec::new()
    });
    for job in jobs {
        let now = context.now();
        let settled = match context.builder.build(&job, now, Composer::compose) {
            Ok(message) => {
                let outcome = session.send(&message).await;
                send_outcome::settlement(context, outcome, &job, lane)
            }
            Err(settlement) => job.settled(settlement),
        };
        context.settler.settle(settled).await;
    }
    session
}
