//! The request ids of a command that makes several calls: a repeated run makes the same calls under the same ids.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A random request id.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the client that makes ids"
)]
pub fn new_request_id() -> Uuid {
    Uuid::new_v4()
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
