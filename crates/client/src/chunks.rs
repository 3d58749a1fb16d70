//! Cuts a long list into calls that the service takes: by the number of items, and by the size of the message.
//!
//! The same list is always cut in the same places, so a repeated run makes the same calls.

use prost::Message;

/// Most items in one call, as the service has it.
pub const ITEMS_MAX: usize = 10_000;
/// Most bytes of items in one call: the service takes messages of up to 16 MiB, and the rest of the request and the
/// framing of each item need room too.
pub const ITEM_BYTES_MAX: usize = 15 * 1024 * 1024;
/// What the framing of an item may add to its own size: a tag and a length.
const FRAMING_BYTES_MAX: usize = 6;

/// The list in pieces, in order; no piece is empty.
pub fn of<T, M: Message>(items: Vec<T>, message: impl Fn(&T) -> &M) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = message(&item).encoded_len() + FRAMING_BYTES_MAX;
        let is_full = chunk.len() == ITEMS_MAX || bytes + size > ITEM_BYTES_MAX;
        if is_full && !chunk.is_empty() {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push(item);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::NewInvitation;

    fn lengths(items: Vec<NewInvitation>) -> Vec<usize> {
        of(items, |item| item).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_list_is_cut_by_number() {
        let of_length = |length| vec![NewInvitation::default(); length];
        assert!(lengths(Vec::new()).is_empty());
        assert_eq!(lengths(of_length(1)), [1]);
        assert_eq!(lengths(of_length(10_000)), [10_000]);
        assert_eq!(lengths(of_length(20_001)), [10_000, 10_000, 1]);
    }

    #[test]
    fn a_list_is_cut_by_size() {
        let big = NewInvitation {
            redirect_url: "x".repeat(6 * 1024 * 1024),
            ..Default::default()
        };
        assert_eq!(lengths(vec![big; 5]), [2, 2, 1]);
    }
}
