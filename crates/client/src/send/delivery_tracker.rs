//! Tracks the emails of a list: counted with `GetBatch` once a second, and looked up one by one where they are few.
//!
//! An invitation that existed before and is sent again belongs to another batch. Such invitations are listed.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tonic::Status;

use crate::connection::{InvitationClient, PAGE_SIZE_MAX, RETRIES_MAX, is_retryable, summary};
use crate::proto::{Batch, DeliveryState, GetBatchRequest, Invitation, ListRequest};
use crate::report::{DeliveryCounts, RowDelivery, RowOutcome, RowResult};
use crate::send::progress::Progress;

pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Emails that are looked up one by one. For a longer list these are only those that were not simply sent.
const KNOWN_MAX: usize = 10_000;
/// Emails of other batches that are tracked.
const RESENT_MAX: usize = 10_000;
/// Pages of other batches that one update reads. There may be any number of these batches, and of any size.
const PAGES_PER_UPDATE_MAX: usize = 100;
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
    /// The emails of other batches, by the id of the invitation.
    resent: HashMap<String, ResentEmail>,
    /// Emails of other batches that are not tracked, because there are too many.
    resent_omitted: u64,
    /// Pages of other batches that are still to be read in the current round.
    unread: Vec<ListRequest>,
}

struct ResentEmail {
    batch_id: String,
    delivery: RowDelivery,
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

    /// Tracks the email of a row if it belongs to another batch.
    pub(crate) fn add(&mut self, row: &RowResult) {
        let is_resent = matches!(row.outcome, RowOutcome::Resent) && row.batch_id != self.batch_id;
        let Some(delivery) = row.delivery.clone().filter(|_| is_resent) else {
            return;
        };
        if self.resent.len() == RESENT_MAX {
            self.resent_omitted += 1;
            return;
        }
        let batch_id = row.batch_id.clone();
        let email = ResentEmail { batch_id, delivery };
        self.resent.insert(row.invitation_id.clone(), email);
    }

    pub(crate) fn counts(&self) -> DeliveryCounts {
        let mut counts = self.counts;
        for resent in self.resent.values() {
            counts.add(resent.delivery.state, 1);
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
        if self.unread.is_empty() {
            self.unread = self.unsettled_batches();
        }
        for _ in 0..PAGES_PER_UPDATE_MAX {
            let Some(request) = self.unread.last().cloned() else {
                break;
            };
            let (page, next) = list_page(client, request).await?;
            self.unread.pop();
            self.unread.extend(next);
            for invitation in &page {
                let resent = self.resent.get_mut(&invitation.id);
                if let (Some(resent), Some(delivery)) = (resent, RowDelivery::of(invitation)) {
                    resent.delivery = delivery;
                }
            }
        }
        Ok(())
    }

    fn unsettled_batches(&self) -> Vec<ListRequest> {
        let is_unsettled =
            |resent: &&ResentEmail| !DeliveryCounts::of_state(resent.delivery.state).is_settled();
        let unsettled = self.resent.values().filter(is_unsettled);
        let batch_ids: BTreeSet<_> = unsettled.map(|resent| &resent.batch_id).collect();
        batch_ids
            .into_iter()
            .map(|batch_id| self.first_page(batch_id, DeliveryState::Unspecified))
            .collect()
    }

    /// The request for the first page of a batch. With a state, only invitations whose email is in this state.
    fn first_page(&self, batch_id: &str, state: DeliveryState) -> ListRequest {
        ListRequest {
            organization_id: self.organization_id.clone(),
            page_size: i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX),
            batch_id: batch_id.to_owned(),
            delivery_state: state.into(),
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
        let resent = self.resent.iter();
        let resent = resent.map(|(id, resent)| (id.clone(), resent.delivery.clone()));
        let mut known = KnownDeliveries {
            by_invitation: resent.collect(),
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
        let states = if is_short {
            &[DeliveryState::Unspecified][..]
        } else {
            &EXCEPTIONS[..]
        };
        let is_present = |state: &DeliveryState| match state {
            DeliveryState::Unspecified => true,
            DeliveryState::Canceled => counts.canceled > 0,
            _ => counts.failed > 0,
        };
        let mut is_cut = false;
        for state in states.iter().copied().filter(is_present) {
            let mut next = Some(self.first_page(&self.batch_id, state));
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
