//! Request ids of a command that makes several calls. A repeated command makes the same calls with the same ids.

use sha2::{Digest, Sha256};
use uuid::Uuid;

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
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(digest)
        .for_each(|(byte, digest)| *byte = digest);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
