//! Checks that the loaded keys fit the rows that need them, before anything is served.

use crate::domain::keyring::Purpose;
use crate::store::signing_keys::{self, SigningKeyRow};
use crate::store::suppressions;

use super::{ServiceError, UnitOfWork, UseCase};

/// The keys file does not fit the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringMismatch {
    /// The file holds another key under an id that was used before.
    #[error("key {0} of the keys file is not the key that was loaded under this id before")]
    Changed(i16),
    /// The links of pending invitations need a key that is not in the file.
    #[error("pending invitations need key {0}, which is not in the keys file")]
    Missing(i16),
    /// Entries of the suppression list need a key that is not in the file. Without it their addresses would be mailed.
    #[error("the suppression list needs key {0}, which is not in the keys file")]
    MissingForSuppressions(i16),
    /// Nobody who replaces a key step by step gets such a file, and no other process would accept its links.
    #[error(
        "no key of the keys file was loaded before; use a file with one of the earlier keys, or, if they are lost, delete the rows of signing_keys"
    )]
    Unknown,
}

/// Checks that no key is missing or changed, then records the loaded keys.
pub struct CheckKeys;

impl UseCase for CheckKeys {
    const NAME: &'static str = "check_keys";
    type Output = Result<(), KeyringMismatch>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let now = work.context.now();
        let keyring = &work.context.keyring;
        let loaded = keyring.key_ids().filter_map(|id| {
            Some(SigningKeyRow {
                key_id: i16::from(id),
                check_value: keyring.derive(id, Purpose::Check)?.to_vec(),
            })
        });
        let loaded: Vec<SigningKeyRow> = loaded.collect();
        let known = signing_keys::list(work).await?;
        for known in &known {
            let key_id = known.key_id;
            match loaded.iter().find(|key| key.key_id == key_id) {
                Some(key) if key == known => {}
                Some(_) => return Ok(Err(KeyringMismatch::Changed(key_id))),
                None if signing_keys::is_needed(work, key_id, now).await? => {
                    return Ok(Err(KeyringMismatch::Missing(key_id)));
                }
                None if suppressions::is_key_needed(work, key_id, now).await? => {
                    return Ok(Err(KeyringMismatch::MissingForSuppressions(key_id)));
                }
                None => {}
            }
        }
        if !known.is_empty() && !known.iter().any(|key| loaded.contains(key)) {
            return Ok(Err(KeyringMismatch::Unknown));
        }
        // Last, so that a wrong file records nothing.
        let new = loaded.iter().filter(|key| !known.contains(key)).count();
        if signing_keys::insert_new(work, &loaded, now).await? != new {
            // Another process has just recorded one of the ids.
            return Err(ServiceError::Conflict);
        }
        Ok(Ok(()))
    }
}
