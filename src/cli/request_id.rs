//! The request ids of a command that makes several calls: a repeated run makes the same calls under the same ids.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::entropy::random_bytes;

/// A new one.
#[must_use]
pub fn new_request_id() -> Uuid {
    uuid::Builder::from_random_bytes(random_bytes()).into_uuid()
}

/// The request id of one of a command's calls: the command's own for the first, derived from it for the others.
#[must_use]
pub fn request_id_of_call(request_id: Uuid, index: usize) -> Uuid {
    if index == 0 {
        return request_id;
    }
    let digest = Sha256::new()
        .chain_update(request_id.as_bytes())
        .chain_update((index as u64).to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(digest)
        .for_each(|(byte, digest)| *byte = digest);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
