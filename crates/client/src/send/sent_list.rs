//! The results of a list: the report, the report file and the state of the emails. A collector takes the results of a
//! stream while the list is sent, and shows the progress.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use invitations_command::error::CommandError;

use crate::connection::{InvitationClient, is_retryable, summary};
use crate::report::{DeliveryCounts, ReportFile, RowResult, SendReport};
use crate::send::delivery_tracker::{DeliveryTracker, KnownDeliveries, POLL_INTERVAL, get_batch};
use crate::send::progress::Progress;
use crate::send::send_args::SendArgs;

pub(crate) struct SentList {
    pub(crate) report: SendReport,
    pub(crate) deliveries: DeliveryTracker,
    file: Option<ReportFile>,
}

impl SentList {
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

    /// Waits for the emails and adds their states to the results.
    pub(crate) async fn wait(
        &mut self,
        client: &mut InvitationClient,
        timeout: Duration,
    ) -> Result<(), CommandError> {
        let known = match self.deliveries.wait(client, timeout).await {
            Ok(()) => self.deliveries.look_up(client).await,
            Err(status) => Err(status),
        };
        let known = known.unwrap_or_else(|status| {
            // Not an error, because the list is sent.
            let summary = summary(&status);
            eprintln!(
                "warning: the invitations were created, but the state of their emails is unknown: {summary}"
            );
            KnownDeliveries::default()
        });
        self.report.deliveries = self.deliveries.counts();
        self.report.update_deliveries(|id| known.of(id));
        match self.file.take() {
            Some(file) => file.finish(|id| known.of(id)),
            None => Ok(()),
        }
    }
}

pub(crate) struct ResultCollector {
    pub(crate) sent: SentList,
    pub(crate) was_accepted: bool,
    pub(crate) progress: Progress,
    live: Rc<LiveCounts>,
}

/// The delivery counts that are shown while the list is sent.
#[derive(Default)]
pub(crate) struct LiveCounts {
    batch_id: RefCell<String>,
    counts: Cell<Option<DeliveryCounts>>,
}

impl ResultCollector {
    pub(crate) fn new(sent: SentList, total: Option<u64>, live: Rc<LiveCounts>) -> Self {
        Self {
            sent,
            was_accepted: false,
            progress: Progress::new(total),
            live,
        }
    }

    /// The server answered, so it accepted the stream. The id of the batch is empty in a dry run.
    pub(crate) fn set_accepted(&mut self, batch_id: &str) {
        self.was_accepted = true;
        self.sent.deliveries.set_batch(batch_id);
        batch_id.clone_into(&mut self.live.batch_id.borrow_mut());
    }

    pub(crate) fn add(&mut self, rows: Vec<RowResult>) -> Result<(), CommandError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.sent.add(rows)?;
        let outcomes = self.sent.report.outcomes;
        self.progress.show_rows(outcomes, self.live.counts.get());
        Ok(())
    }

    pub(crate) fn finish(self) -> SentList {
        self.progress.finish();
        self.sent
    }
}

impl LiveCounts {
    /// Counts the emails of the batch once a second, as long as the future is polled.
    pub(crate) async fn update(
        &self,
        mut client: InvitationClient,
        organization_id: &str,
    ) -> Infallible {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let batch_id = self.batch_id.borrow().clone();
            if batch_id.is_empty() {
                continue;
            }
            match get_batch(&mut client, organization_id, &batch_id).await {
                Ok(batch) => self.counts.set(Some(DeliveryCounts::of(&batch))),
                Err(status) if is_retryable(&status) => {}
                // The caller may not be allowed to read. The list is sent nevertheless, and a warning follows at its end.
                Err(_) => std::future::pending().await,
            }
        }
    }
}
