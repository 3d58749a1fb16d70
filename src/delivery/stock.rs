//! The stock: mails a worker has claimed and not handed out yet, so that no connection waits for the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::lane::Lane;
use super::mailroom::Job;
use crate::store::outbox::{ClaimedMail, MailKey};

/// Claimed mails, oldest first.
#[derive(Default)]
pub(super) struct Stock(VecDeque<Job>);

/// The leases of everything a worker holds, in stock or on its way: what its heartbeat extends.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<Mutex<HashMap<MailKey, Uuid>>>);

impl Stock {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds mails behind those that wait.
    pub(super) fn add(&mut self, jobs: Vec<Job>) {
        self.0.extend(jobs);
    }

    /// Takes the oldest mails, at most `most`, whose domains have room on a lane.
    pub(super) fn take(&mut self, most: usize, lane: &Lane) -> Vec<Job> {
        let mut taken = Vec::new();
        let mut at = 0;
        while taken.len() < most && at < self.0.len() {
            if lane.domains.enter(self.0[at].domain()) {
                taken.extend(self.0.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }

    /// Takes all but the oldest so many.
    pub(super) fn take_beyond(&mut self, kept: usize) -> Vec<Job> {
        self.0.drain(kept.min(self.0.len())..).collect()
    }
}

impl Held {
    /// Remembers leases.
    pub(super) fn add(&self, claimed: &[(ClaimedMail, Uuid)]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(
            claimed
                .iter()
                .map(|(mail, token)| (mail.key.clone(), *token)),
        );
    }

    /// Forgets leases; of a mail that was claimed again since, the new one stays.
    pub(super) fn remove<'a>(&self, ended: impl IntoIterator<Item = &'a (MailKey, Uuid)>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, token) in ended {
            if held.get(key) == Some(token) {
                held.remove(key);
            }
        }
    }

    /// Every lease.
    pub(super) fn all(&self) -> Vec<(MailKey, Uuid)> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter()
            .map(|(key, token)| (key.clone(), *token))
            .collect()
    }
}
