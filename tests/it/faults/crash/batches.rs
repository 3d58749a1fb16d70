//! The same with providers that take many mails in one call: one that keeps keys delivers nothing twice, and of one
//! that keeps none at most the mails of the calls under way arrive twice.

use std::collections::{BTreeMap, BTreeSet};

use invitations::mail::provider::ProviderKind;
use invitations::proto::{
    DeleteOrganizationRequest, Organization, RevokeRequest, UpsertOrganizationsRequest,
};

use crate::support::deployment::client;
use crate::support::mail_queue::{LONG_LEASE, MailQueue};
use crate::support::provider::{ProviderCall, ProviderReply, ProviderServer};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{ACME, OTHER, invite_request};

/// Calls made at once.
const CALLS: usize = 2;
/// Mails of a call.
const BATCH: usize = 10;
/// Processes that are killed.
const CRASHES: usize = 5;
/// The most mails a process holds: in calls, and as many in stock.
const HELD_MAX: usize = 2 * CALLS * BATCH;

/// A queue that drains to a provider.
struct Counter {
    queue: MailQueue,
    provider: ProviderServer,
}

impl Counter {
    async fn of(kind: ProviderKind, mails: usize) -> Self {
        let provider = ProviderServer::start(kind).await;
        let queue = MailQueue::with_messages(mails).await;
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

    /// Kills processes while the provider has taken all of their calls and answered none.
    async fn crash(&self, times: usize) {
        for _ in 0..times {
            let calls = self.provider.requests().len() + CALLS;
            for _ in 0..CALLS {
                self.provider.reply_once(ProviderReply::AcceptAndHang);
            }
            let running = self.worker();
            wait_until("the provider to have the calls", async || {
                self.provider.requests().len() == calls
            })
            .await;
            running.crash().await;
        }
    }

    /// Sends what is left, with nothing in its way.
    async fn finish(&self) {
        self.queue.end_leases().await;
        let _running = self.worker();
        wait_until("every mail to be settled", async || {
            // What is tried again need not wait for its time.
            self.queue
                .execute("UPDATE outbox SET next_attempt_at = now() WHERE state = 'queued' AND next_attempt_at > now()")
                .await;
            let open = "outbox WHERE state IN ('queued', 'sending')";
            self.queue.count(open).await == 0
        })
        .await;
        assert_eq!(self.queue.count("mail_batches").await, 0);
    }

    /// How often each reader got their mail; all of one are the same.
    fn arrivals(&self) -> BTreeMap<String, usize> {
        let mut arrivals = BTreeMap::new();
        let delivered = self.provider.delivered();
        for mail in &delivered {
            *arrivals.entry(mail.to.clone()).or_default() += 1;
            let first = delivered.iter().find(|other| other.to == mail.to);
            assert!(first == Some(mail), "{} got two mails that differ", mail.to);
        }
        arrivals
    }

    /// The calls by their keys.
    fn calls(&self) -> BTreeMap<String, Vec<ProviderCall>> {
        let mut calls: BTreeMap<String, Vec<ProviderCall>> = BTreeMap::new();
        for call in self.provider.requests() {
            let key = call.header("idempotency-key").to_owned();
            calls.entry(key).or_default().push(call);
        }
        calls
    }

    /// The keys of the first calls, each of which was made twice, and whether both times with the same bytes.
    fn repeated(&self, calls: usize) -> Vec<bool> {
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
async fn a_provider_that_keeps_keys_delivers_nothing_twice() {
    let mails = (CRASHES + 1) * HELD_MAX;
    let counter = Counter::of(ProviderKind::Resend, mails).await;
    counter.crash(CRASHES).await;
    counter.finish().await;
    let arrivals = counter.arrivals();
    assert_eq!(arrivals.len(), mails);
    assert!(arrivals.values().all(|times| *times == 1));
    assert_eq!(counter.repeated(CRASHES * CALLS), [true; CRASHES * CALLS]);
}

#[tokio::test]
async fn a_provider_without_keys_delivers_twice_what_was_in_its_calls_alone() {
    let mails = (CRASHES + 1) * HELD_MAX;
    let counter = Counter::of(ProviderKind::Postmark, mails).await;
    counter.crash(CRASHES).await;
    let doubled = counter.arrivals();
    assert_eq!(doubled.len(), CRASHES * CALLS * BATCH);
    counter.finish().await;
    let arrivals = counter.arrivals();
    assert_eq!(arrivals.len(), mails);
    for (to, times) in arrivals {
        assert_eq!(times, if doubled.contains_key(&to) { 2 } else { 1 }, "{to}");
    }
}

#[tokio::test]
async fn an_orderly_end_waits_for_its_calls_and_doubles_nothing() {
    let mails = 12 * HELD_MAX;
    let counter = Counter::of(ProviderKind::Postmark, mails).await;
    for _ in 0..CRASHES {
        let calls = counter.provider.requests().len() + 1;
        let mut running = counter.worker();
        wait_until("the provider to have a call", async || {
            counter.provider.requests().len() >= calls
        })
        .await;
        running.terminate().await;
        assert!(running.wait_for_exit().await.success(), "{}", running.log());
        let held = counter.queue.count("outbox WHERE state = 'sending'").await;
        assert_eq!((held, counter.queue.count("mail_batches").await), (0, 0));
    }
    counter.finish().await;
    let arrivals = counter.arrivals();
    assert_eq!(arrivals.len(), mails);
    assert!(arrivals.values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_name_that_changed_after_the_crash_doubles_nothing() {
    let mails = HELD_MAX;
    let counter = Counter::of(ProviderKind::Resend, mails).await;
    counter.crash(1).await;
    let renamed = Organization {
        id: ACME.to_owned(),
        name: "Acme Rockets".to_owned(),
        ..Default::default()
    };
    let request = UpsertOrganizationsRequest {
        organizations: vec![renamed],
    };
    let mut directory = counter.queue.directory();
    directory.upsert_organizations(request).await.unwrap();
    counter.finish().await;

    let arrivals = counter.arrivals();
    assert_eq!(arrivals.len(), mails);
    assert!(arrivals.values().all(|times| *times == 1));
    assert_eq!(
        counter.queue.count("outbox WHERE state = 'sent'").await,
        mails
    );
    assert_eq!(counter.repeated(CALLS), [false; CALLS]);
    let is_renamed = |at: usize| {
        counter.provider.delivered()[at]
            .subject
            .contains("Acme Rockets")
    };
    assert!((CALLS * BATCH..mails).all(is_renamed));
    assert!(!(0..CALLS * BATCH).any(is_renamed));
}

#[tokio::test]
async fn who_was_revoked_after_the_crash_stays_in_the_call() {
    let mails = HELD_MAX;
    let counter = Counter::of(ProviderKind::Resend, mails).await;
    counter.crash(1).await;
    let revoked = counter.provider.delivered()[3].reference.unwrap();
    let request = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: revoked.invitation_id.to_string(),
        user_id: String::new(),
    };
    client(&counter.queue.channel)
        .revoke(request)
        .await
        .unwrap();
    counter.finish().await;

    let arrivals = counter.arrivals();
    assert_eq!(arrivals.len(), mails);
    assert!(arrivals.values().all(|times| *times == 1));
    assert_eq!(counter.repeated(CALLS), [true; CALLS]);
}

#[tokio::test]
async fn an_organization_that_was_deleted_after_the_crash_doubles_no_mail_of_another() {
    // Fewer than one call takes, so that both organizations are in it.
    let counter = Counter::of(ProviderKind::Resend, BATCH / 2).await;
    let mut request = invite_request(&["other1@b.co", "other2@b.co"]);
    request.organization_id = OTHER.to_owned();
    request.inviter_user_id = "eve".to_owned();
    client(&counter.queue.channel)
        .bulk_create(request)
        .await
        .unwrap();
    counter.provider.reply_once(ProviderReply::AcceptAndHang);
    let running = counter.worker();
    wait_until("the provider to have the call", async || {
        counter.provider.requests().len() == 1
    })
    .await;
    running.crash().await;
    assert_eq!(counter.arrivals().len(), BATCH / 2 + 2);

    let request = DeleteOrganizationRequest {
        organization_id: OTHER.to_owned(),
    };
    let mut directory = counter.queue.directory();
    directory.delete_organization(request).await.unwrap();
    counter.finish().await;
    assert!(counter.arrivals().values().all(|times| *times == 1));
}
