//! An item of a request after its fields and its inviter were checked.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::new_invitation::{Inviter, ItemDraft, NewInvitation};
use crate::domain::reason::Violation;

/// A checked item.
pub(super) struct CheckedItem {
    /// The normalized address, if it is valid.
    pub(super) email: Option<String>,
    pub(super) is_mailed: bool,
    pub(super) item: Result<Arc<NewInvitation>, Vec<Violation>>,
}

impl CheckedItem {
    pub(super) fn new(draft: ItemDraft, inviters: &HashMap<String, Inviter>) -> Self {
        Self {
            email: draft.email().map(|email| email.normalized().to_owned()),
            is_mailed: draft.is_mailed(),
            item: draft.finish(inviters).map(Arc::new),
        }
    }
}
