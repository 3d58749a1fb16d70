//! Takes what came of rows while they come: into the report and its file, and onto the terminal.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use super::stream::Listener;
use crate::connection::Connection;
use crate::counts::MailCounts;
use crate::follow::POLL_INTERVAL;
use crate::mails::{Mails, counts_of, get_batch};
use crate::progress::{Progress, RowsDone};
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::report::Report;
use crate::report_file::ReportFile;
use crate::retry::is_retryable;
use crate::row::Row;
use invitations_command::error::CommandError;

/// What a list came to so far.
pub(super) struct Listing {
    report: Report,
    file: Option<ReportFile>,
    mails: Mails,
    progress: Progress,
    was_open: bool,
    /// The batch, for whoever counts mails meanwhile.
    pub(super) batch_id: Rc<RefCell<String>>,
    /// The mails as counted last.
    pub(super) counts: Rc<Cell<Option<MailCounts>>>,
}

impl Listing {
    /// Nothing yet of so many rows, if that is known.
    pub(super) fn new(file: Option<ReportFile>, mails: Mails, total: Option<u64>) -> Self {
        Self {
            report: Report::default(),
            file,
            mails,
            progress: Progress::rows(total),
            was_open: false,
            batch_id: Rc::default(),
            counts: Rc::default(),
        }
    }

    /// Ends the display; the report, its file, the mails, and whether the service ever took the list.
    pub(super) fn finish(self) -> (Report, Option<ReportFile>, Mails, bool) {
        self.progress.finish();
        (self.report, self.file, self.mails, self.was_open)
    }
}

impl Listener for Listing {
    fn opened(&mut self, batch_id: &str) {
        self.was_open = true;
        if *self.batch_id.borrow() != batch_id {
            self.mails.set_batch(batch_id);
            batch_id.clone_into(&mut self.batch_id.borrow_mut());
        }
    }

    fn rows(&mut self, rows: Vec<Row>) -> Result<(), CommandError> {
        if let Some(file) = &mut self.file {
            file.add(&rows)?;
        }
        for row in rows {
            self.mails.add(&row);
            self.report.add(row);
        }
        let outcomes = self.report.outcomes();
        self.progress.show_rows(RowsDone {
            accepted: outcomes.taken(),
            refused: outcomes.refused,
            mails: self.counts.get(),
        });
        Ok(())
    }

    fn say(&mut self, sentence: &str) {
        self.progress.say(sentence);
    }
}

/// Counts the mails of a batch once a second, for as long as it is polled.
pub(super) async fn count_mails(
    mut client: InvitationServiceClient<Connection>,
    organization_id: &str,
    batch_id: &RefCell<String>,
    counts: &Cell<Option<MailCounts>>,
) -> Infallible {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let batch_id = batch_id.borrow().clone();
        if batch_id.is_empty() {
            continue;
        }
        match get_batch(&mut client, organization_id, &batch_id).await {
            Ok(batch) => counts.set(Some(counts_of(&batch))),
            Err(status) if is_retryable(&status) => {}
            // Whoever may not read sends nevertheless; the end of the command says so.
            Err(_) => std::future::pending().await,
        }
    }
}
