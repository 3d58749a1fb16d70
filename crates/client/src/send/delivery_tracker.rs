//! Tracks the emails of a list: counted with `GetBatch` once a second, and looked up one by one where they are few.
//!
//! An invitation that existed before and is sent again may belong to another batch. Such invitations are read by their ids.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tonic::Status;

use crate::connection::{InvitationClient, PAGE_SIZE_MAX, RETRIES_MAX, is_retryable, summary};
use crate::proto::{
    Batch, BulkGetRequest, DeliveryState, GetBatchRequest, Invitation, InvitationFilter,
    InvitationView, ListRequest,
};
use crate::report::{DeliveryCounts, RowDelivery, RowOutcome, RowResult};
use crate::send::progress::Progress;

pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Emails that are looked up one by one. For a longer list these are only those that were not simply sent.
const KNOWN_MAX: usize = 10_000;
/// Emails that were sent again and are tracked.
const RESENT_MAX: usize = 10_000;
const EXCEPTIONS: [DeliveryState; 5] = [
    DeliveryState::Failed,
    DeliveryState::Bounced,
    DeliveryState::Complained,
    DeliveryState::Suppressed,
    DeliveryState::Canceled,
];

#[derive(Default)]
pub(crate) struct DeliveryTracker {
    organization_id: String,
    batch_id: String,
    /// The emails of the batch, as last counted.
    counts: DeliveryCounts,
    /// The emails of invitations that were sent again, by the id of the invitation.
    resent: HashMap<String, RowDelivery>,
    /// Emails that were sent again and are not tracked, because there are too many.
    resent_omitted: u64,
}

#[derive(Default)]
pub(crate) struct KnownDeliveries {
    by_invitation: HashMap<String, RowDelivery>,
    /// The state of all other emails, if it is known.
    others: Option<DeliveryState>,
}

impl KnownDeliveries {
    pub(crate) fn of(&self, invitation_id: &str) -> Option<RowDelivery> {
        let known = self.by_invitation.get(invitation_id).cloned();
        known.or_else(|| {
            let (state, last_error) = (self.others?, String::new());
            Some(RowDelivery { state, last_error })
        })
    }
}

impl DeliveryTracker {
    pub(crate) fn new(organization_id: &str) -> Self {
        Self {
            organization_id: organization_id.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn set_batch(&mut self, batch_id: &str) {
        batch_id.clone_into(&mut self.batch_id);
    }

    /// Tracks the email of a row if it may belong to another batch.
    pub(crate) fn add(&mut self, row: &RowResult) {
        let is_resent = matches!(row.outcome, RowOutcome::Resent);
        let Some(delivery) = row.delivery.clone().filter(|_| is_resent) else {
            return;
        };
        if self.resent.len() == RESENT_MAX {
            self.resent_omitted += 1;
            return;
        }
        self.resent.insert(row.invitation_id.clone(), delivery);
    }

    pub(crate) fn counts(&self) -> DeliveryCounts {
        let mut counts = self.counts;
        for delivery in self.resent.values() {
            counts.add(delivery.state, 1);
        }
        counts
    }

    /// Waits until every email is sent or failed, the timeout passes, or the user presses Ctrl-C. After an error, the tracker
    /// has the counts of the last successful call.
    pub(crate) async fn wait(
        &mut self,
        client: &mut InvitationClient,
        timeout: Duration,
    ) -> Result<(), Status> {
        let started = Instant::now();
        let mut progress = None;
        let mut failures = 0;
        let result = loop {
            match self.update(client).await {
                Ok(()) => {
                    failures = 0;
                    let counts = self.counts();
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

    async fn update(&mut self, client: &mut InvitationClient) -> Result<(), Status> {
        if !self.batch_id.is_empty() {
            let batch = get_batch(client, &self.organization_id, &self.batch_id).await?;
            self.counts = DeliveryCounts::of(&batch);
        }
        let is_unsettled = |(id, delivery): (&String, &RowDelivery)| {
            let is_settled = DeliveryCounts::of_state(delivery.state).is_settled();
            (!is_settled).then(|| id.clone())
        };
        let unsettled: Vec<String> = self.resent.iter().filter_map(is_unsettled).collect();
        for ids in unsettled.chunks(PAGE_SIZE_MAX) {
            let request = BulkGetRequest {
                organization_id: self.organization_id.clone(),
                invitation_ids: ids.to_vec(),
                view: InvitationView::Full.into(),
            };
            let results = client.bulk_get(request).await?.into_inner().results;
            for (id, result) in ids.iter().zip(results) {
                self.update_resent(id, result.invitation);
            }
        }
        Ok(())
    }

    fn update_resent(&mut self, id: &str, invitation: Option<Invitation>) {
        let invitation = invitation.filter(|it| it.batch_id != self.batch_id);
        match invitation.as_ref().and_then(RowDelivery::of) {
            Some(delivery) => {
                self.resent.insert(id.to_owned(), delivery);
            }
            // The invitation is of this batch and counted there, or it was deleted.
            None => {
                self.resent.remove(id);
            }
        }
    }

    /// The request for the first page of the batch. With states, only invitations whose email is in one of them.
    fn first_page(&self, delivery_states: &[DeliveryState]) -> ListRequest {
        let states = delivery_states.iter();
        ListRequest {
            organization_id: self.organization_id.clone(),
            page_size: i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX),
            filter: Some(InvitationFilter {
                batch_id: Some(self.batch_id.clone()),
                delivery_states: states.map(|state| (*state).into()).collect(),
                ..Default::default()
            }),
            view: InvitationView::Full.into(),
            ..Default::default()
        }
    }

    /// Looks emails up one by one: all of a short list, and of a long list those that were not simply sent.
    pub(crate) async fn look_up(
        &self,
        client: &mut InvitationClient,
    ) -> Result<KnownDeliveries, Status> {
        if self.resent_omitted > 0 {
            let omitted = self.resent_omitted;
            eprintln!(
                "warning: the state of {omitted} emails of invitations that existed before is unknown"
            );
        }
        let mut known = KnownDeliveries {
            by_invitation: self.resent.clone(),
            others: None,
        };
        if self.batch_id.is_empty() {
            return Ok(known);
        }
        let room = known.by_invitation.len() + KNOWN_MAX;
        // Counted again, because an email may have bounced since the last count.
        let batch = get_batch(client, &self.organization_id, &self.batch_id).await?;
        let counts = DeliveryCounts::of(&batch);
        let is_short = counts.total() <= KNOWN_MAX as u64;
        let first_page = if is_short {
            Some(self.first_page(&[]))
        } else {
            let has_exceptions = counts.failed + counts.canceled > 0;
            has_exceptions.then(|| self.first_page(&EXCEPTIONS))
        };
        let (mut next, mut is_cut) = (first_page, false);
        while let Some(request) = next {
            let page;
            (page, next) = list_page(client, request).await?;
            let found = page.iter().filter_map(|invitation| {
                Some((invitation.id.clone(), RowDelivery::of(invitation)?))
            });
            known.by_invitation.extend(found);
            if known.by_invitation.len() >= room {
                is_cut = true;
                break;
            }
        }
        // An email of another batch that is not tracked cannot be distinguished from the others, so `others` stays unknown then.
        let is_complete = !is_cut && self.resent_omitted == 0;
        let are_others_sent = !is_short && is_complete && counts.is_settled();
        known.others = are_others_sent.then_some(DeliveryState::Sent);
        Ok(known)
    }
}

/// Reads one page. Returns its invitations and the request for the next page.
async fn list_page(
    client: &mut InvitationClient,
    mut request: ListRequest,
) -> Result<(Vec<Invitation>, Option<ListRequest>), Status> {
    let page = client.list(request.clone()).await?.into_inner();
    request.page_token = page.next_page_token;
    let next = (!request.page_token.is_empty()).then_some(request);
    Ok((page.invitations, next))
}

pub(crate) async fn get_batch(
    client: &mut InvitationClient,
    organization_id: &str,
    batch_id: &str,
) -> Result<Batch, Status> {
    let request = GetBatchRequest {
        organization_id: organization_id.to_owned(),
        batch_id: batch_id.to_owned(),
    };
    let response = client.get_batch(request).await?.into_inner();
    Ok(response.batch.unwrap_or_default())
}
