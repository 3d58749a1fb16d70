//! Whether the loaded keys are the ones the rows need: asked once, before anything is served.

use crate::domain::keyring::{Keyring, Purpose};
use crate::store::signing_keys::{self, SigningKeyRow};
use crate::store::suppressions;

use super::{Service, ServiceError};

/// The keys file does not fit the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringMismatch {
    /// The file holds another key under an id that was used before.
    #[error("key {0} of the keys file is not the key that was loaded under this id before")]
    Changed(i16),
    /// Pending invitations carry links of a key that is not in the file.
    #[error("pending invitations need key {0}, which is not in the keys file")]
    Missing(i16),
    /// Suppressed addresses are known by tags of a key that is not in the file: without it they would be mailed again.
    #[error("the suppression list needs key {0}, which is not in the keys file")]
    MissingForSuppressions(i16),
}

impl Service {
    /// Records the loaded keys and finds out whether any that is needed is missing.
    pub async fn check_keys(&self) -> Result<Result<(), KeyringMismatch>, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("check_keys", move |connection| {
                let service = service.clone();
                Box::pin(async move {
                    let now = service.clock.now();
                    let loaded = check_values(&service.keyring);
                    signing_keys::insert_new(connection, &loaded, now).await?;
                    for known in signing_keys::list(connection).await? {
                        let key_id = known.key_id;
                        match loaded.iter().find(|key| key.key_id == key_id) {
                            Some(key) if key.check_value == known.check_value => {}
                            Some(_) => return Ok(Err(KeyringMismatch::Changed(key_id))),
                            None if signing_keys::is_needed(connection, key_id, now).await? => {
                                return Ok(Err(KeyringMismatch::Missing(key_id)));
                            }
                            None if suppressions::is_key_needed(connection, key_id, now)
                                .await? =>
                            {
                                return Ok(Err(KeyringMismatch::MissingForSuppressions(key_id)));
                            }
                            None => {}
                        }
                    }
                    Ok(Ok(()))
                })
            })
            .await
    }
}

fn check_values(keyring: &Keyring) -> Vec<SigningKeyRow> {
    keyring
        .key_ids()
        .filter_map(|kid| {
            let check_value = keyring.derive(kid, Purpose::Check)?.to_vec();
            Some(SigningKeyRow {
                key_id: i16::from(kid),
                check_value,
            })
        })
        .collect()
}
