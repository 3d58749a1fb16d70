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
}

/// Records the loaded keys, and checks that no key is missing or changed.
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
        signing_keys::insert_new(work, &loaded, now).await?;
        for known in signing_keys::list(work).await? {
            let key_id = known.key_id;
            match loaded.iter().find(|key| key.key_id == key_id) {
                Some(key) if key.check_value == known.check_value => {}
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
        Ok(Ok(()))
    }
}
