//! Reads from the store what the messages of claimed emails are built from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::delivery_context::DeliveryContext;
use super::send_job::SendJob;
use crate::domain::address_tag::AddressTag;
use crate::store::outbox::{self, ClaimedMail, MailContent};
use crate::store::{StoreError, suppressions};

/// How long content that was read from the store may be used: an email should not be sent a moment after its invitation
/// ended.
const CONTENT_AGE_MAX: Duration = Duration::from_secs(1);

/// Reads the content of all emails with one statement, and their suppressions with another.
pub(super) async fn read_jobs(
    context: &DeliveryContext,
    claimed: Vec<(ClaimedMail, Uuid)>,
) -> Result<Vec<SendJob>, StoreError> {
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    let ids = claimed.iter().map(|(mail, _)| mail.key.invitation_id);
    let ids: Arc<[Uuid]> = ids.collect();
    let read_at = Instant::now();
    let contents = context.store.run("outbox.contents", move |connection| {
        let ids = Arc::clone(&ids);
        Box::pin(async move { outbox::contents(connection, &ids).await })
    });
    let contents = contents.await?.into_iter().map(Arc::new);
    let contents: HashMap<Uuid, Arc<MailContent>> = contents
        .map(|content| (content.invitation_id, content))
        .collect();
    let suppressed = suppressed(context, contents.values()).await?;
    Ok(claimed
        .into_iter()
        .map(|(claimed, lease_token)| SendJob {
            content: contents.get(&claimed.key.invitation_id).map(Arc::clone),
            is_suppressed: suppressed.contains(&claimed.key.invitation_id),
            claimed,
            lease_token,
            read_at,
        })
        .collect())
}

/// The invitations whose address is on the suppression list.
async fn suppressed(
    context: &DeliveryContext,
    contents: impl Iterator<Item = &Arc<MailContent>> + Send,
) -> Result<HashSet<Uuid>, StoreError> {
    let tags: Arc<[(String, AddressTag, Uuid)]> = contents
        .flat_map(|content| {
            let tagger = &context.builder.tagger;
            let tags = tagger.tags_of_normalized(&content.email_normalized);
            tags.map(|tag| (content.organization_id.clone(), tag, content.invitation_id))
        })
        .collect();
    let (searched, now) = (Arc::clone(&tags), context.now());
    let found = context.store.run("suppressions.find", move |connection| {
        let searched = Arc::clone(&searched);
        Box::pin(async move {
            let pairs = searched.iter().map(|(id, tag, _)| (id.as_str(), *tag));
            suppressions::find(connection, &pairs.collect::<Vec<_>>(), now).await
        })
    });
    let found = found.await?.into_iter();
    let found: HashSet<_> = found.map(|row| (row.organization_id, row.tag)).collect();
    Ok(tags
        .iter()
        .filter(|(id, tag, _)| found.contains(&(id.clone(), tag.bytes)))
        .map(|(.., invitation_id)| *invitation_id)
        .collect())
}

/// Reads jobs again that were buffered for too long, and drops those whose lease was lost: another worker sends them.
/// If the store cannot be read, the jobs must not be sent.
pub(super) async fn refresh_jobs(
    context: &DeliveryContext,
    jobs: Vec<SendJob>,
) -> Result<Vec<SendJob>, StoreError> {
    let is_fresh = |job: &SendJob| job.read_at.elapsed() < CONTENT_AGE_MAX;
    if jobs.iter().all(is_fresh) {
        return Ok(jobs);
    }
    let leases: Arc<[_]> = jobs.iter().map(SendJob::lease).collect();
    let now = context.now();
    let store = &context.store;
    let leased = store.run("outbox.filter_leased", move |connection| {
        let leases = Arc::clone(&leases);
        Box::pin(async move { outbox::filter_leased(connection, &leases, now).await })
    });
    let leased = leased.await?;
    let claimed = jobs.into_iter().map(|job| (job.claimed, job.lease_token));
    let (kept, lost): (Vec<_>, Vec<_>) =
        claimed.partition(|(claimed, _)| leased.contains(&claimed.key.id()));
    for (claimed, _) in lost {
        tracing::warn!(
            invitation.id = %claimed.key.invitation_id,
            "the lease of an email was lost before the email was sent"
        );
    }
    read_jobs(context, kept).await
}
