//! Crashes while emails are sent through a provider that accepts many messages in one call. A provider with idempotency
//! keys delivers nothing twice. Without such keys, only the messages of the calls in flight arrive twice.

use std::collections::{BTreeMap, BTreeSet};

use invitations::mail::providers::ProviderKind;
use invitations::proto::{DeleteOrganizationRequest, UpsertOrganizationsRequest};

use crate::support::deployment::client;
use crate::support::directory::organization;
use crate::support::mail_queue::{LONG_LEASE, MailQueue};
use crate::support::provider::{ProviderCall, ProviderReply, ProviderServer};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{ACME, OTHER, invite_to_other_request, revoke_request};

/// How many calls a process makes at the same time.
const CALLS: usize = 2;
/// How many messages one call has.
const BATCH: usize = 10;
/// How many processes crash.
const CRASHES: usize = 5;
/// The most emails that a process leases: those in its calls, and as many in its buffer.
const LEASED_MAX: usize = 2 * CALLS * BATCH;

/// A queue whose emails are sent through a provider.
struct ProviderQueue {
    queue: MailQueue,
    provider: ProviderServer,
}

impl ProviderQueue {
    async fn of(kind: ProviderKind, emails: usize) -> Self {
        let provider = ProviderServer::start(kind).await;
        let queue = MailQueue::with_messages(emails).await;
        let url = provider.base_url();
        let lane = match kind {
            ProviderKind::Resend => "resend = { api_key",
            ProviderKind::Postmark => "postmark = { server_token",
        };
        let limits = format!("batch_max = {BATCH}, calls = {CALLS}");
        let lane = format!("{lane} = \"x\", base_url = \"{url}\", {limits} }}");
        queue.deployment.write(
            "lanes",
            &format!("[[lane]]\nname = \"main\"\npause = \"1s\"\n{lane}\n"),
        );
        Self { queue, provider }
    }

    fn worker(&self) -> ServerProcess {
        let lanes = self.queue.deployment.path("lanes");
        let lanes = ("INVITATIONS_LANES_FILE", lanes.to_str().unwrap());
        self.queue.start_worker(&[LONG_LEASE, lanes])
    }

    /// Crashes processes, one after the other, when the provider has received all of their calls and answered none.
    async fn crash(&self, times: usize) {
        for _ in 0..times {
            let calls = self.provider.requests().len() + CALLS;
            for _ in 0..CALLS {
                self.provider.reply_once(ProviderReply::AcceptAndHang);
            }
            let running = self.worker();
            wait_until("the provider to receive the calls", async || {
                self.provider.requests().len() == calls
            })
            .await;
            running.crash().await;
        }
    }

    /// Sends the remaining emails without a further failure.
    async fn finish(&self) {
        self.queue.end_leases().await;
        let _running = self.worker();
        wait_until("every email to be settled", async || {
            // Retries need not wait for their time.
            self.queue
                .execute("UPDATE outbox SET next_attempt_at = now() WHERE state = 'queued' AND next_attempt_at > now()")
                .await;
            let open = "outbox WHERE state IN ('queued', 'sending')";
            self.queue.count(open).await == 0
        })
        .await;
        assert_eq!(self.queue.count("mail_batches").await, 0);
    }

    /// Counts the messages that each recipient received. All messages to one recipient must be equal.
    fn arrivals(&self) -> BTreeMap<String, usize> {
        let mut arrivals = BTreeMap::new();
        let delivered = self.provider.delivered();
        for mail in &delivered {
            *arrivals.entry(mail.to.clone()).or_default() += 1;
            let first = delivered.iter().find(|other| other.to == mail.to);
            assert!(
                first == Some(mail),
                "{} received two different messages",
                mail.to
            );
        }
        arrivals
    }

    /// Asserts that so many recipients received one message each.
    fn assert_each_arrived_once(&self, recipients: usize) {
        let arrivals = self.arrivals();
        assert_eq!(arrivals.len(), recipients);
        assert!(arrivals.values().all(|times| *times == 1));
    }

    /// Returns all calls by their idempotency keys.
    fn calls(&self) -> BTreeMap<String, Vec<ProviderCall>> {
        let mut calls: BTreeMap<String, Vec<ProviderCall>> = BTreeMap::new();
        for call in self.provider.requests() {
            let key = call.header("idempotency-key").to_owned();
            calls.entry(key).or_default().push(call);
        }
        calls
    }

    /// Asserts that exactly the first `calls` calls were repeated, once each. Returns for each of their keys whether the
    /// repeated call had the same body.
    fn repeated_with_the_same_body(&self, calls: usize) -> Vec<bool> {
        let first: BTreeSet<String> = self.provider.requests()[..calls]
            .iter()
            .map(|call| call.header("idempotency-key").to_owned())
            .collect();
        assert_eq!(first.len(), calls);
        let all = self.calls();
        assert!(
            all.iter()
                .all(|(key, calls)| calls.len() == if first.contains(key) { 2 } else { 1 })
        );
        let is_same = |key: &String| all[key][0].body == all[key][1].body;
        first.iter().map(is_same).collect()
    }
}

#[tokio::test]
async fn a_provider_with_idempotency_keys_delivers_no_email_twice() {
    let emails = (CRASHES + 1) * LEASED_MAX;
    let provider_queue = ProviderQueue::of(ProviderKind::Resend, emails).await;
    provider_queue.crash(CRASHES).await;
    provider_queue.finish().await;
    provider_queue.assert_each_arrived_once(emails);
    let repeated = provider_queue.repeated_with_the_same_body(CRASHES * CALLS);
    assert_eq!(repeated, [true; CRASHES * CALLS]);
}

#[tokio::test]
async fn a_provider_without_idempotency_keys_delivers_only_the_calls_in_flight_twice() {
    let emails = (CRASHES + 1) * LEASED_MAX;
    let provider_queue = ProviderQueue::of(ProviderKind::Postmark, emails).await;
    provider_queue.crash(CRASHES).await;
    let in_flight = provider_queue.arrivals();
    assert_eq!(in_flight.len(), CRASHES * CALLS * BATCH);
    provider_queue.finish().await;
    let arrivals = provider_queue.arrivals();
    assert_eq!(arrivals.len(), emails);
    for (to, times) in arrivals {
        let expected = if in_flight.contains_key(&to) { 2 } else { 1 };
        assert_eq!(times, expected, "{to}");
    }
}

#[tokio::test]
async fn a_graceful_shutdown_waits_for_provider_calls_and_duplicates_no_email() {
    let emails = 12 * LEASED_MAX;
    let provider_queue = ProviderQueue::of(ProviderKind::Postmark, emails).await;
    for _ in 0..CRASHES {
        let calls = provider_queue.provider.requests().len() + 1;
        let mut running = provider_queue.worker();
        wait_until("the provider to receive a call", async || {
            provider_queue.provider.requests().len() >= calls
        })
        .await;
        running.terminate().await;
        assert!(running.wait_for_exit().await.success(), "{}", running.log());
        let queue = &provider_queue.queue;
        let leased = queue.count("outbox WHERE state = 'sending'").await;
        assert_eq!((leased, queue.count("mail_batches").await), (0, 0));
    }
    provider_queue.finish().await;
    provider_queue.assert_each_arrived_once(emails);
}

#[tokio::test]
async fn an_organization_renamed_after_a_crash_causes_no_duplicate_email() {
    let emails = LEASED_MAX;
    let provider_queue = ProviderQueue::of(ProviderKind::Resend, emails).await;
    provider_queue.crash(1).await;
    let request = UpsertOrganizationsRequest {
        organizations: vec![organization(ACME, "Acme Rockets")],
        ..Default::default()
    };
    let mut directory = provider_queue.queue.directory();
    directory.upsert_organizations(request).await.unwrap();
    provider_queue.finish().await;

    provider_queue.assert_each_arrived_once(emails);
    let sent = provider_queue.queue.count("outbox WHERE state = 'sent'");
    assert_eq!(sent.await, emails);
    let repeated = provider_queue.repeated_with_the_same_body(CALLS);
    assert_eq!(repeated, [false; CALLS]);
    let delivered = provider_queue.provider.delivered();
    let has_new_name = |at: usize| delivered[at].subject.contains("Acme Rockets");
    assert!((CALLS * BATCH..emails).all(has_new_name));
    assert!(!(0..CALLS * BATCH).any(has_new_name));
}

#[tokio::test]
async fn an_invitation_revoked_after_a_crash_stays_in_the_repeated_call() {
    let emails = LEASED_MAX;
    let provider_queue = ProviderQueue::of(ProviderKind::Resend, emails).await;
    provider_queue.crash(1).await;
    let revoked = provider_queue.provider.delivered()[3].reference.unwrap();
    let request = revoke_request(&revoked.invitation_id.to_string());
    client(&provider_queue.queue.channel)
        .revoke(request)
        .await
        .unwrap();
    provider_queue.finish().await;

    provider_queue.assert_each_arrived_once(emails);
    let repeated = provider_queue.repeated_with_the_same_body(CALLS);
    assert_eq!(repeated, [true; CALLS]);
}

#[tokio::test]
async fn an_organization_deleted_after_a_crash_causes_no_duplicate_email_of_another_one() {
    // Fewer than one call has, so that one call contains emails of both organizations.
    let provider_queue = ProviderQueue::of(ProviderKind::Resend, BATCH / 2).await;
    let request = invite_to_other_request(&["other1@b.co", "other2@b.co"]);
    client(&provider_queue.queue.channel)
        .bulk_create(request)
        .await
        .unwrap();
    provider_queue
        .provider
        .reply_once(ProviderReply::AcceptAndHang);
    let running = provider_queue.worker();
    wait_until("the provider to receive the call", async || {
        provider_queue.provider.requests().len() == 1
    })
    .await;
    running.crash().await;
    assert_eq!(provider_queue.arrivals().len(), BATCH / 2 + 2);

    let request = DeleteOrganizationRequest {
        organization_id: OTHER.to_owned(),
        ..Default::default()
    };
    let mut directory = provider_queue.queue.directory();
    directory.delete_organization(request).await.unwrap();
    provider_queue.finish().await;
    let arrivals = provider_queue.arrivals();
    assert!(arrivals.values().all(|times| *times == 1));
}
