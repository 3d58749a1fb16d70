//! Sends one email over a session: read again, build, send, settle.

use std::error::Error;
use std::sync::Arc;

use super::delivery_context::DeliveryContext;
use super::job_reader::refresh_jobs;
use super::lane::Lane;
use super::send_job::SendJob;
use super::send_outcome;
use crate::mail::message::Composer;
use crate::mail::transport::TransportSession;

pub(super) struct SmtpSender {
    pub(super) context: Arc<DeliveryContext>,
    pub(super) lane: Arc<Lane>,
}

impl SmtpSender {
    /// Attempts an email once and settles it. Returns the session for the next email.
    pub(super) async fn send(
        &self,
        mut session: TransportSession,
        job: SendJob,
    ) -> TransportSession {
        let context = &*self.context;
        match refresh_jobs(context, vec![job]).await {
            Ok(jobs) => {
                for job in jobs {
                    let message = context
                        .builder
                        .build(&job, context.now(), Composer::compose);
                    let settled = match message {
                        Ok(message) => {
                            let outcome = session.send(&message).await;
                            send_outcome::settlement(context, outcome, &job, &self.lane)
                        }
                        Err(settlement) => job.settled(settlement),
                    };
                    context.settler.settle(settled).await;
                }
            }
            // The lease expires, and another worker retries the email.
            Err(error) => tracing::warn!(
                error = &error as &dyn Error,
                "cannot read an email again before it is sent"
            ),
        }
        session
    }
}
