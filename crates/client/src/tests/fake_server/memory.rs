//! The data of the fake server, and the results that it makes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::Status;

use crate::proto::{
    BulkCreateStreamHeader, CreateOutcome, CreateResult, Delivery, DeliveryState, ErrorReason,
    Invitation, InvitationEvent, InvitationView, ItemError,
};

/// The batch of all invitations.
pub(crate) const BATCH_ID: &str = "batch-1";

/// Data that outlives the stream that uses it.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) invitations: Mutex<Vec<Invitation>>,
    /// The lists of streams by request id.
    pub(crate) lists: Mutex<HashMap<String, StreamedList>>,
    /// When the next streams break: after so many responses with content, with this status.
    pub(crate) breaks: Mutex<VecDeque<(usize, Status)>>,
    /// The header of every stream.
    pub(crate) headers: Mutex<Vec<BulkCreateStreamHeader>>,
    /// The key of every item of a stream.
    pub(crate) keys: Mutex<Vec<String>>,
    /// Most items that one message had.
    pub(crate) message_items_max: Mutex<usize>,
    pub(crate) events: Mutex<Vec<InvitationEvent>>,
    /// The cursor of every `Watch`.
    pub(crate) cursors: Mutex<Vec<String>>,
}

/// A list that was sent with one request id.
#[derive(Default)]
pub(crate) struct StreamedList {
    pub(crate) header: BulkCreateStreamHeader,
    pub(crate) results: Vec<CreateResult>,
    /// The index of each address.
    indexes: HashMap<String, usize>,
}

impl StreamedList {
    /// Adds the result of the next item in the view FULL; `chunk_start` is the index of the first item of its chunk.
    pub(crate) fn add(
        &mut self,
        memory: &Memory,
        chunk_start: usize,
        email: &str,
        is_dry_run: bool,
    ) {
        let email = normalized(email);
        let result = match self.indexes.get(&email).copied() {
            _ if !email.contains('@') => invalid_email(),
            Some(first) if first < chunk_start => CreateResult {
                invitation: Some(Invitation {
                    batch_id: BATCH_ID.to_owned(),
                    ..Default::default()
                }),
                ..refused(
                    ErrorReason::AlreadyInvited,
                    "the address is invited already",
                )
            },
            Some(first) => duplicate(first),
            None if email.starts_with("resent") => CreateResult {
                outcome: CreateOutcome::Resent.into(),
                invitation: lock(&memory.invitations).first().cloned(),
                ..Default::default()
            },
            None => {
                self.indexes.insert(email.clone(), self.results.len());
                let mut stored = lock(&memory.invitations);
                let result = created(stored.len(), &email);
                if !is_dry_run {
                    stored.extend(result.invitation.clone());
                }
                result
            }
        };
        self.results.push(result);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn normalized(email: &str) -> String {
    email.trim_matches([' ', '\t']).to_ascii_lowercase()
}

pub(crate) fn created(id: usize, email: &str) -> CreateResult {
    CreateResult {
        outcome: CreateOutcome::Created.into(),
        invitation: Some(Invitation {
            id: format!("invitation-{id}"),
            email: email.to_owned(),
            batch_id: BATCH_ID.to_owned(),
            delivery: Some(Delivery {
                state: DeliveryState::Queued.into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The result with only the fields of the view.
pub(crate) fn viewed(mut result: CreateResult, view: InvitationView) -> CreateResult {
    if view != InvitationView::Full {
        result.invitation = result.invitation.map(|invitation| Invitation {
            id: invitation.id,
            role: invitation.role,
            state: invitation.state,
            create_time: invitation.create_time,
            ..Default::default()
        });
        result.email = String::new();
    }
    result
}

pub(crate) fn invalid_email() -> CreateResult {
    refused(ErrorReason::EmailInvalid, "the address is not valid")
}

/// The result of an item with the address of an earlier item, which has this index.
pub(crate) fn duplicate(first_index: usize) -> CreateResult {
    let message = "the address is already in this request";
    let mut result = refused(ErrorReason::DuplicateInRequest, message);
    if let Some(error) = &mut result.error {
        let index = first_index.to_string();
        error.metadata.insert("first_index".to_owned(), index);
    }
    result
}

fn refused(reason: ErrorReason, message: &str) -> CreateResult {
    CreateResult {
        outcome: CreateOutcome::Failed.into(),
        error: Some(ItemError {
            reason: reason.into(),
            message: message.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
