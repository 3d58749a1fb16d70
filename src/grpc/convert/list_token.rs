//! Page tokens, bound to the list they belong to.

use prost::Message;
use uuid::Uuid;

use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::reason::{Reason, Violation};

use super::fields::Field;

/// The page tokens of one list: of one kind, organization and filter.
pub(crate) struct ListToken<'a> {
    keyring: &'a Keyring,
    list: Vec<u8>,
}

impl<'a> ListToken<'a> {
    /// The tokens of the list that a request asks for. `request` must not contain the page size and the page token.
    pub(crate) fn new(keyring: &'a Keyring, kind: &str, request: &impl Message) -> Self {
        let mut list = format!("{kind}\0").into_bytes();
        list.extend(request.encode_to_vec());
        Self { keyring, list }
    }

    /// Where to continue. `None` for the first page.
    pub(crate) fn open<T>(
        &self,
        token: &str,
        parse: impl FnOnce(Vec<u8>) -> Option<T>,
    ) -> Field<Option<T>> {
        if token.is_empty() {
            return Ok(None);
        }
        page_token::open(self.keyring, &self.list, token)
            .and_then(|cursor| parse(cursor).ok_or(Reason::PageTokenInvalid))
            .map(Some)
            .map_err(|reason| vec![Violation::new("page_token", reason)])
    }

    /// The id of the last item of the page before.
    pub(crate) fn open_id(&self, token: &str) -> Field<Option<Uuid>> {
        self.open(token, |cursor| Uuid::from_slice(&cursor).ok())
    }

    /// The token of the page after an id. Empty on the last page.
    pub(crate) fn next_after(&self, has_more: bool, last: Option<&Uuid>) -> String {
        self.next(has_more, last.map(|id| id.as_bytes().as_slice()))
    }

    /// The token of the next page. Empty on the last page.
    pub(crate) fn next(&self, has_more: bool, last: Option<&[u8]>) -> String {
        last.filter(|_| has_more)
            .map(|last| page_token::seal(self.keyring, &self.list, last))
            .unwrap_or_default()
    }
}
