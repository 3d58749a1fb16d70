//! Follows the mails of a `send` until they are out: reads the invitations once a second and notes where each is.
//!
//! Only looks; whatever goes wrong here, the invitations are made, so it warns and stops looking.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tonic::Status;

use super::connection::Connection;
use super::progress::Progress;
use super::report::{Mail, MailCounts, Row};
use super::retry::{RETRIES_MAX, is_retryable};
use super::status::summary;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{DeliveryState, Invitation, ListRequest};

/// The time between two looks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The largest page that the service gives.
const PAGE_SIZE: i32 = 1_000;

/// Follows until every mail is settled, the time is up, or somebody presses Ctrl-C; rows are kept up to date.
///
/// # Errors
///
/// The refusal that ended it early. The rows then hold what was known last.
pub async fn follow(
    client: &mut InvitationServiceClient<Connection>,
    organization_id: &str,
    rows: &mut [Row],
    timeout: Duration,
) -> Result<(), Status> {
    let started = Instant::now();
    let mut progress = Progress::start(MailCounts::of(rows).total());
    let result = poll(
        client,
        organization_id,
        rows,
        timeout,
        started,
        &mut progress,
    )
    .await;
    progress.finish();
    result
}

async fn poll(
    client: &mut InvitationServiceClient<Connection>,
    organization_id: &str,
    rows: &mut [Row],
    timeout: Duration,
    started: Instant,
    progress: &mut Progress,
) -> Result<(), Status> {
    let mut failures = 0;
    loop {
        match look(client, organization_id, rows).await {
            Ok(()) => failures = 0,
            Err(status) if failures < RETRIES_MAX && is_retryable(&status) => {
                failures += 1;
                progress.say(&format!("List: {}; looking again", summary(&status)));
            }
            Err(status) => return Err(status),
        }
        let counts = MailCounts::of(rows);
        progress.show(counts);
        if counts.settled() == counts.total() {
            return Ok(());
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL.min(left)) => {}
            _ = tokio::signal::ctrl_c() => {
                progress.say("interrupted: the invitations are made and their mails go on");
                return Ok(());
            }
        }
    }
}

/// Reads the batches that still have unsettled mails, and notes where each mail is.
async fn look(
    client: &mut InvitationServiceClient<Connection>,
    organization_id: &str,
    rows: &mut [Row],
) -> Result<(), Status> {
    let mut unsettled: HashMap<String, usize> = HashMap::new();
    // An invitation that was sent again belongs to the call that made it, so there may be several.
    let mut batches = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        if row
            .mail
            .as_ref()
            .is_some_and(|mail| !is_settled(mail.state))
        {
            unsettled.insert(row.invitation_id.clone(), index);
            batches.insert(row.batch_id.clone());
        }
    }
    for batch_id in batches {
        let mut page_token = String::new();
        loop {
            let request = ListRequest {
                organization_id: organization_id.to_owned(),
                page_size: PAGE_SIZE,
                page_token,
                batch_id: batch_id.clone(),
                ..Default::default()
            };
            let page = client.list(request).await?.into_inner();
            for invitation in &page.invitations {
                let row = unsettled
                    .get(&invitation.id)
                    .and_then(|index| rows.get_mut(*index));
                if let (Some(row), Some(mail)) = (row, mail(invitation)) {
                    row.mail = Some(mail);
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    Ok(())
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
