//! Where the mails of a list are: counted by `GetBatch`, however many they are, and looked up one by one where they are few.
//!
//! Only looks. Invitations that were there before and are mailed again are of other batches: those are listed.

use std::collections::{BTreeSet, HashMap};

use tonic::Status;

use super::connection::Connection;
use super::counts::MailCounts;
use super::row::{Mail, Outcome, Row};
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{Batch, DeliveryState, GetBatchRequest, Invitation, ListRequest};

/// The largest page that the service gives.
const PAGE_SIZE: i32 = 1_000;
/// Mails that are known one by one; of a longer list these are the ones that were not simply sent.
const KNOWN_MAX: usize = 10_000;
/// Mails of other batches that are followed.
const RESENT_MAX: usize = 10_000;
/// Pages of other batches that are read in one look: such a batch may be of any size, and there may be any number of them.
const PAGES_A_LOOK: usize = 100;
/// The states that somebody may want to know of by name, in a list whose mails are all settled otherwise.
const EXCEPTIONS: [DeliveryState; 5] = [
    DeliveryState::Failed,
    DeliveryState::Bounced,
    DeliveryState::Complained,
    DeliveryState::Suppressed,
    DeliveryState::Canceled,
];

/// The mails of a list.
pub struct Mails {
    organization_id: String,
    batch_id: String,
    /// Those of the batch, as counted last.
    counts: MailCounts,
    /// Those of other batches, by the id of their invitation.
    resent: HashMap<String, ResentMail>,
    resent_left_out: u64,
    /// Other batches that are still to be read before all are looked at anew.
    walk: Vec<Pages>,
}

struct ResentMail {
    batch_id: String,
    mail: Mail,
}

/// Mails that are known one by one.
#[derive(Default)]
pub struct KnownMails {
    by_invitation: HashMap<String, Mail>,
    /// What is true of all others.
    others: Option<DeliveryState>,
}

impl KnownMails {
    /// Where the mail of an invitation is, if that is known.
    #[must_use]
    pub fn of(&self, invitation_id: &str) -> Option<Mail> {
        let known = self.by_invitation.get(invitation_id).cloned();
        known.or_else(|| {
            Some(Mail {
                state: self.others?,
                last_error: String::new(),
            })
        })
    }
}

impl Mails {
    /// No mails yet.
    #[must_use]
    pub fn new(organization_id: &str) -> Self {
        Self {
            organization_id: organization_id.to_owned(),
            batch_id: String::new(),
            counts: MailCounts::default(),
            resent: HashMap::new(),
            resent_left_out: 0,
            walk: Vec::new(),
        }
    }

    /// The batch that the list makes.
    pub fn set_batch(&mut self, batch_id: &str) {
        batch_id.clone_into(&mut self.batch_id);
    }

    /// Takes note of a row whose mail is of another batch.
    pub fn add(&mut self, row: &Row) {
        let Some(mail) = row
            .mail
            .as_ref()
            .filter(|_| matches!(row.outcome, Outcome::Resent) && row.batch_id != self.batch_id)
        else {
            return;
        };
        if self.resent.len() == RESENT_MAX {
            self.resent_left_out += 1;
            return;
        }
        let mail = ResentMail {
            batch_id: row.batch_id.clone(),
            mail: mail.clone(),
        };
        self.resent.insert(row.invitation_id.clone(), mail);
    }

    /// How many mails are where, those of other batches that are not followed being on their way.
    #[must_use]
    pub fn counts(&self) -> MailCounts {
        let mut counts = self.counts;
        for resent in self.resent.values() {
            counts.add(resent.mail.state, 1);
        }
        counts
    }

    /// How many mails of other batches are too many to be followed.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.resent_left_out
    }

    /// Counts anew.
    pub async fn look(
        &mut self,
        client: &mut InvitationServiceClient<Connection>,
    ) -> Result<(), Status> {
        if !self.batch_id.is_empty() {
            let batch = get_batch(client, &self.organization_id, &self.batch_id).await?;
            self.counts = counts_of(&batch);
        }
        if self.walk.is_empty() {
            self.walk = self.unsettled_batches();
        }
        for _ in 0..PAGES_A_LOOK {
            let Some(pages) = self.walk.last_mut() else {
                break;
            };
            let page = pages.next(client).await?.unwrap_or_default();
            if pages.is_end {
                self.walk.pop();
            }
            for invitation in &page {
                let resent = self.resent.get_mut(&invitation.id);
                if let (Some(resent), Some(mail)) = (resent, mail(invitation)) {
                    resent.mail = mail;
                }
            }
        }
        Ok(())
    }

    /// The other batches that have mails to be settled. An invitation that was sent again belongs to the call that made it,
    /// so there may be several.
    fn unsettled_batches(&self) -> Vec<Pages> {
        let is_unsettled = |resent: &&ResentMail| !is_settled(resent.mail.state);
        let unsettled = self.resent.values().filter(is_unsettled);
        let batch_ids: BTreeSet<_> = unsettled.map(|resent| &resent.batch_id).collect();
        batch_ids
            .into_iter()
            .map(|batch_id| Pages::new(&self.organization_id, batch_id, None))
            .collect()
    }

    /// Looks mails up one by one: all of a short list, of a long one those that somebody may want to know of.
    pub async fn look_up(
        &self,
        client: &mut InvitationServiceClient<Connection>,
    ) -> Result<KnownMails, Status> {
        let mut known = KnownMails::default();
        let mails = self.resent.iter();
        known.by_invitation = mails
            .map(|(id, resent)| (id.clone(), resent.mail.clone()))
            .collect();
        if self.batch_id.is_empty() {
            return Ok(known);
        }
        let room = known.by_invitation.len() + KNOWN_MAX;
        // Not those of the last look: a mail may have bounced since.
        let batch = get_batch(client, &self.organization_id, &self.batch_id).await?;
        let counts = counts_of(&batch);
        let filters: Vec<_> = if counts.total() <= KNOWN_MAX as u64 {
            vec![None]
        } else {
            let is_there = |state: &DeliveryState| match state {
                DeliveryState::Canceled => counts.canceled > 0,
                _ => counts.failed > 0,
            };
            EXCEPTIONS.into_iter().filter(is_there).map(Some).collect()
        };
        let is_whole = filters == [None];
        let mut is_cut = false;
        for state in filters {
            let mut pages = Pages::new(&self.organization_id, &self.batch_id, state);
            while let Some(page) = pages.next(client).await? {
                let found = page
                    .iter()
                    .filter_map(|invitation| Some((invitation.id.clone(), mail(invitation)?)));
                known.by_invitation.extend(found);
                if known.by_invitation.len() >= room {
                    is_cut = true;
                    break;
                }
            }
        }
        let is_settled = counts.settled() == counts.total();
        // Of a mail that was left out nothing is known, and nobody can tell it from those of the batch.
        let is_complete = !is_cut && self.resent_left_out == 0;
        known.others = (!is_whole && is_complete && is_settled).then_some(DeliveryState::Sent);
        Ok(known)
    }
}

/// The pages of a list of invitations.
struct Pages {
    request: ListRequest,
    is_end: bool,
}

impl Pages {
    fn new(organization_id: &str, batch_id: &str, state: Option<DeliveryState>) -> Self {
        let request = ListRequest {
            organization_id: organization_id.to_owned(),
            page_size: PAGE_SIZE,
            batch_id: batch_id.to_owned(),
            delivery_state: state.unwrap_or_default().into(),
            ..Default::default()
        };
        Self {
            request,
            is_end: false,
        }
    }

    async fn next(
        &mut self,
        client: &mut InvitationServiceClient<Connection>,
    ) -> Result<Option<Vec<Invitation>>, Status> {
        if self.is_end {
            return Ok(None);
        }
        let page = client.list(self.request.clone()).await?.into_inner();
        self.is_end = page.next_page_token.is_empty();
        self.request.page_token = page.next_page_token;
        Ok(Some(page.invitations))
    }
}

/// A batch as it is now.
pub async fn get_batch(
    client: &mut InvitationServiceClient<Connection>,
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

/// How many mails of a batch are where.
#[must_use]
pub fn counts_of(batch: &Batch) -> MailCounts {
    let mut counts = MailCounts::default();
    for counted in &batch.delivery_state_counts {
        let count = u64::try_from(counted.count).unwrap_or_default();
        counts.add(counted.delivery_state(), count);
    }
    counts
}

/// Where the mail of an invitation is, or `None` if none was asked for.
#[must_use]
pub fn mail(invitation: &Invitation) -> Option<Mail> {
    let delivery = invitation.delivery.as_ref()?;
    let state = delivery.state();
    (state != DeliveryState::NotRequested).then(|| Mail {
        state,
        last_error: delivery.last_error.clone(),
    })
}

const fn is_settled(state: DeliveryState) -> bool {
    !matches!(
        state,
        DeliveryState::Queued
            | DeliveryState::Sending
            | DeliveryState::Deferred
            | DeliveryState::Unspecified
    )
}
