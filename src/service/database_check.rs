//! What is verified before the first call, and what health checks: the schema, the keys, and that writes are committed.

use crate::store::{health_probes, schema};

use super::keys::{CheckKeys, KeyringMismatch};
use super::readiness::Readiness;
use super::{Service, ServiceError, UnitOfWork, UseCase};

/// Why a process is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("the database is not migrated; run `invitations migrate`")]
    NotMigrated,
    /// Waiting does not help.
    #[error(transparent)]
    Keys(#[from] KeyringMismatch),
    #[error(transparent)]
    Failed(#[from] ServiceError),
}

/// Writes and commits a row, as calls do.
struct ProbeDatabase;

impl Service {
    /// Verifies the schema and the keys, and that the database commits writes. Once it has succeeded, calls are answered.
    pub async fn verify(&self) -> Result<(), NotReady> {
        let is_migrated = self.store.is_migrated().await;
        if !is_migrated.map_err(ServiceError::from)? {
            return Err(NotReady::NotMigrated);
        }
        self.run(CheckKeys).await??;
        self.probe().await?;
        self.readiness.set_ready();
        Ok(())
    }

    /// Checks that the database has the schema, and commits writes to every table.
    pub async fn probe(&self) -> Result<(), NotReady> {
        if self.run(ProbeDatabase).await? {
            Ok(())
        } else {
            Err(NotReady::NotMigrated)
        }
    }

    /// Whether calls may be answered.
    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl UseCase for ProbeDatabase {
    const NAME: &'static str = "probe";
    /// Whether the schema is as new as this program.
    type Output = bool;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<bool, ServiceError> {
        if !schema::is_current(work).await? {
            return Ok(false);
        }
        health_probes::lock_tables(work).await?;
        health_probes::allocate(work).await?;
        health_probes::upsert(work).await?;
        Ok(true)
    }
}
