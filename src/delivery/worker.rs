//! The worker: claims exactly as many mails as it can send at once.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::DeliveryConfig;
use super::attempt::{Job, Mailroom};
use super::lane::Lane;
use crate::entropy;
use crate::mail::transport::{Session, Transport};
use crate::store::StoreError;
use crate::store::outbox::{self, ClaimedMail, Lease, MailContent};

/// How far chance shortens the wait for the next look, so that replicas do not look in step.
const POLL_JITTER: f64 = 0.2;

/// How often to try to read what claimed mails are written from.
const CONTENTS_TRIES_MAX: u32 = 10;
/// The pause between those tries.
const CONTENTS_PAUSE: Duration = Duration::from_secs(1);

/// Drains the outbox over a number of connections.
pub struct Worker {
    mailroom: Arc<Mailroom>,
    config: DeliveryConfig,
    mail_queued: Arc<Notify>,
    lane: Arc<Lane>,
    /// One for each connection that no attempt uses.
    idle: Vec<Session>,
    attempts: JoinSet<Session>,
    transport: Transport,
}

impl Worker {
    /// A worker; `mail_queued` wakes it before its next poll.
    #[must_use]
    pub fn new(
        mailroom: Mailroom,
        transport: Transport,
        config: DeliveryConfig,
        mail_queued: Arc<Notify>,
    ) -> Self {
        Self {
            mailroom: Arc::new(mailroom),
            config,
            mail_queued,
            lane: Arc::new(Lane::new(config.lane_pause)),
            idle: (0..config.connections).map(|_| transport.open()).collect(),
            attempts: JoinSet::new(),
            transport,
        }
    }

    /// Works until told to stop, then lets what is in flight end.
    pub async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            let claimed = match self.dispatch().await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "cannot claim mails");
                    0
                }
            };
            let has_more = claimed > 0;
            let wait = entropy::jittered(self.config.poll_interval, POLL_JITTER);
            let wait = self
                .lane
                .closed_until()
                .map_or(wait, |until| wait.max(until - Instant::now()));
            tokio::select! {
                () = stopping.cancelled() => {}
                Some(ended) = self.attempts.join_next() => self.take_back(ended),
                () = self.mail_queued.notified(), if !self.idle.is_empty() && self.lane.closed_until().is_none() => {}
                () = tokio::time::sleep(if has_more && !self.idle.is_empty() { Duration::ZERO } else { wait }) => {
                    self.close_idle().await;
                }
            }
        }
        self.drain().await;
    }

    /// Sends everything that is due now, and returns how many mails were tried. What tests use to see the queue empty.
    pub async fn deliver_all(&mut self) -> Result<usize, StoreError> {
        let mut total = 0;
        loop {
            let claimed = self.dispatch().await?;
            total += claimed;
            match self.attempts.join_next().await {
                Some(ended) => self.take_back(ended),
                None if claimed == 0 => return Ok(total),
                None => {}
            }
        }
    }

    /// Claims a mail for each idle connection and starts an attempt at each.
    async fn dispatch(&mut self) -> Result<usize, StoreError> {
        if self.idle.is_empty() || self.lane.closed_until().is_some() {
            return Ok(0);
        }
        let lease = Lease {
            token: Uuid::from_bytes(entropy::random_bytes()),
            until: self.mailroom.clock.now() + self.config.lease_duration,
        };
        let claimed = self.claim(lease).await?;
        if claimed.is_empty() {
            return Ok(0);
        }
        let count = claimed.len();
        let contents = self.contents_of(&claimed).await?;
        for mail in claimed {
            let job = Job {
                content: contents.get(&mail.key.invitation_id).map(Arc::clone),
                claimed: mail,
                lease_token: lease.token,
                lease_duration: self.config.lease_duration,
            };
            let session = self.idle.pop().unwrap_or_else(|| self.transport.open());
            let (mailroom, lane) = (Arc::clone(&self.mailroom), Arc::clone(&self.lane));
            self.attempts
                .spawn(async move { mailroom.attempt(session, job, &lane).await });
        }
        Ok(count)
    }

    async fn claim(&self, lease: Lease) -> Result<Vec<ClaimedMail>, StoreError> {
        let limit = i64::try_from(self.idle.len()).unwrap_or(i64::MAX);
        let now = self.mailroom.clock.now();
        self.mailroom
            .store
            .run("outbox.claim", move |connection| {
                Box::pin(outbox::claim(connection, limit, lease, now))
            })
            .await
    }

    /// Reads what claimed mails are written from, and tries a little: giving up leaves them to their leases.
    async fn contents_of(
        &self,
        claimed: &[ClaimedMail],
    ) -> Result<HashMap<Uuid, Arc<MailContent>>, StoreError> {
        let mut tries = 1;
        loop {
            match self.contents(claimed).await {
                Err(_) if tries < CONTENTS_TRIES_MAX => tries += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(CONTENTS_PAUSE).await;
        }
    }

    async fn contents(
        &self,
        claimed: &[ClaimedMail],
    ) -> Result<HashMap<Uuid, Arc<MailContent>>, StoreError> {
        let ids: Arc<[Uuid]> = claimed.iter().map(|mail| mail.key.invitation_id).collect();
        let contents = self
            .mailroom
            .store
            .run("outbox.contents", move |connection| {
                let ids = Arc::clone(&ids);
                Box::pin(async move { outbox::contents(connection, &ids).await })
            })
            .await?;
        Ok(contents
            .into_iter()
            .map(|content| (content.invitation_id, Arc::new(content)))
            .collect())
    }

    fn take_back(&mut self, ended: Result<Session, tokio::task::JoinError>) {
        self.idle.push(ended.unwrap_or_else(|error| {
            // The lease of its mail runs out, and the reaper queues it again.
            tracing::error!(
                error = &error as &dyn Error,
                "an attempt at a mail panicked"
            );
            self.transport.open()
        }));
    }

    async fn close_idle(&mut self) {
        let now = Instant::now();
        for session in &mut self.idle {
            if session
                .idle_deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                session.close().await;
            }
        }
    }

    /// Lets attempts in flight end, for as long as the process may take. Those that do not lose their lease in time.
    async fn drain(mut self) {
        let timeout = self.config.drain_timeout;
        let all_ended = async {
            while let Some(ended) = self.attempts.join_next().await {
                self.take_back(ended);
            }
        };
        if tokio::time::timeout(timeout, all_ended).await.is_err() {
            tracing::warn!("mails in flight did not end in time; another worker tries them again");
        }
        for session in &mut self.idle {
            session.close().await;
        }
    }
}
