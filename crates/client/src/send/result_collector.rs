//! Takes the results of a stream while the list is sent, and shows the progress.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use invitations_command::error::CommandError;

use crate::connection::{InvitationClient, is_retryable};
use crate::report::{DeliveryCounts, RowResult};
use crate::send::delivery_tracker::get_batch;
use crate::send::delivery_wait::POLL_INTERVAL;
use crate::send::progress::Progress;
use crate::send::sent_list::SentList;

pub(crate) struct ResultCollector {
    pub(crate) sent: SentList,
    /// The server accepted at least one stream.
    pub(crate) was_accepted: bool,
    progress: Progress,
    live: Rc<LiveCounts>,
}

/// The delivery counts that are shown while the list is sent.
#[derive(Default)]
pub(crate) struct LiveCounts {
    batch_id: RefCell<String>,
    counts: Cell<Option<DeliveryCounts>>,
}

impl ResultCollector {
    /// `total` is the number of rows, if it is known.
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
        let outcomes = self.sent.report.outcomes();
        self.progress.show_rows(outcomes, self.live.counts.get());
        Ok(())
    }

    pub(crate) fn print(&self, message: &str) {
        self.progress.print(message);
    }

    /// Removes the progress bar.
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
