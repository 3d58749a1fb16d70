//! The results of a list: the report, the report file and the state of the emails.

use std::time::Duration;

use invitations_command::error::CommandError;
use tonic::Status;

use crate::connection::{InvitationClient, summary};
use crate::report::{DeliveryCounts, ReportFile, RowResult, SendReport};
use crate::send::delivery_tracker::{DeliveryTracker, KnownDeliveries};
use crate::send::delivery_wait::wait_for_deliveries;
use crate::send::send_args::SendArgs;

pub(crate) struct SentList {
    pub(crate) report: SendReport,
    pub(crate) deliveries: DeliveryTracker,
    file: Option<ReportFile>,
}

impl SentList {
    /// Creates the report file.
    pub(crate) fn new(args: &SendArgs) -> Result<Self, CommandError> {
        Ok(Self {
            report: SendReport::default(),
            deliveries: DeliveryTracker::new(&args.organization),
            file: args.report.as_deref().map(ReportFile::create).transpose()?,
        })
    }

    pub(crate) fn add(&mut self, rows: Vec<RowResult>) -> Result<(), CommandError> {
        if let Some(file) = &mut self.file {
            file.add(&rows)?;
        }
        for row in rows {
            self.deliveries.add(&row);
            self.report.add(row);
        }
        Ok(())
    }

    /// Waits for the emails and adds their states to the results. Returns their counts.
    pub(crate) async fn wait(
        &mut self,
        client: &mut InvitationClient,
        timeout: Duration,
    ) -> Result<DeliveryCounts, CommandError> {
        let known = self.known_deliveries(client, timeout).await;
        let known = known.unwrap_or_else(|status| {
            // Not an error, because the list is sent.
            eprintln!(
                "warning: the invitations were created, but the state of their emails is unknown: {}",
                summary(&status)
            );
            KnownDeliveries::default()
        });
        self.report.update_deliveries(|id| known.of(id));
        if let Some(file) = self.file.take() {
            file.finish(|id| known.of(id))?;
        }
        Ok(self.deliveries.counts())
    }

    async fn known_deliveries(
        &mut self,
        client: &mut InvitationClient,
        timeout: Duration,
    ) -> Result<KnownDeliveries, Status> {
        wait_for_deliveries(client, &mut self.deliveries, timeout).await?;
        let omitted = self.deliveries.resent_omitted;
        if omitted > 0 {
            eprintln!(
                "warning: the state of {omitted} emails of invitations that existed before is unknown"
            );
        }
        self.deliveries.look_up(client).await
    }
}
