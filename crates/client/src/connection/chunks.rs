//! Lists that do not fit one call: requests are split, and responses are read in pages. A repeated command makes the same
//! calls with the same request ids.

use invitations_command::error::CommandError;
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Most items in one call. The server has the same limit.
pub(crate) const CALL_ITEMS_MAX: usize = 10_000;
/// Most bytes of items in one call. The server accepts messages of 16 MiB, which also hold the other fields of the request.
pub(crate) const CALL_BYTES_MAX: usize = 15 * 1024 * 1024;
/// Largest page that the server returns.
pub(crate) const PAGE_SIZE_MAX: usize = 1_000;
/// Bytes that a repeated field may add to an item: its tag and its length.
const FRAMING_BYTES_MAX: usize = 6;

pub(crate) fn framed_bytes(item: &impl Message) -> usize {
    item.encoded_len() + FRAMING_BYTES_MAX
}

/// Splits a list into parts, in order and always at the same places. No part is empty.
pub(crate) fn split_into_calls<T: Message>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += framed_bytes(&item);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CALL_ITEMS_MAX && bytes <= CALL_BYTES_MAX => {
                chunk.push(item);
            }
            _ => {
                bytes = framed_bytes(&item);
                chunks.push(vec![item]);
            }
        }
    }
    chunks
}

/// Reads pages until the last one, or until there are `limit` items. Returns the items, and whether there are more. `read`
/// takes a page size and a page token. It returns a page and the token of the next one, or an empty text.
pub(crate) async fn read_pages<T>(
    limit: usize,
    mut read: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), CommandError>,
) -> Result<(Vec<T>, bool), CommandError> {
    let (mut items, mut token) = (Vec::new(), String::new());
    loop {
        // A page size of 0 would select the default of the server.
        let size = limit.saturating_sub(items.len()).clamp(1, PAGE_SIZE_MAX);
        let (page, next) = read(i32::try_from(size).unwrap_or(i32::MAX), token).await?;
        items.extend(page);
        if next.is_empty() || items.len() >= limit {
            let has_more = !next.is_empty() || items.len() > limit;
            items.truncate(limit);
            return Ok((items, has_more));
        }
        token = next;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only function of the client that generates ids"
)]
pub(crate) fn new_request_id() -> Uuid {
    Uuid::new_v4()
}

/// The id of one call: that of the command for the first call, and ids derived from it for the others.
pub(crate) fn request_id_of_call(request_id: Uuid, index: usize) -> Uuid {
    if index == 0 {
        return request_id;
    }
    let digest = Sha256::new()
        .chain_update(request_id.as_bytes())
        .chain_update((index as u64).to_be_bytes())
        .finalize();
    let bytes = std::array::from_fn(|index| digest[index]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::NewInvitation;

    fn lengths(items: Vec<NewInvitation>) -> Vec<usize> {
        split_into_calls(items).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_list_is_split_by_number() {
        let of_length = |length| vec![NewInvitation::default(); length];
        assert!(lengths(Vec::new()).is_empty());
        assert_eq!(lengths(of_length(1)), [1]);
        assert_eq!(lengths(of_length(10_000)), [10_000]);
        assert_eq!(lengths(of_length(20_001)), [10_000, 10_000, 1]);
    }

    #[test]
    fn a_list_is_split_by_size() {
        let big = NewInvitation {
            redirect_url: "x".repeat(6 * 1024 * 1024),
            ..Default::default()
        };
        assert_eq!(lengths(vec![big; 5]), [2, 2, 1]);
    }
}
