//! What work costs beside time: write-ahead log, memory, and the time of cores.

use std::ops::{AddAssign, Sub};
use std::time::Duration;

use sqlx::PgConnection;

use crate::database::Database;
use crate::machine;

/// Looks at a service and its database.
pub(crate) struct Meter {
    connection: PgConnection,
    service: Option<u32>,
    postmaster: Option<u32>,
}

/// What was read, or spent between two readings.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reading {
    /// Bytes of write-ahead log.
    pub(crate) wal: i64,
    /// Time of cores spent by the service.
    pub(crate) service: Duration,
    /// Time of cores spent by Postgres: the statements, and what it does beside them.
    pub(crate) postgres: Duration,
}

impl Meter {
    /// One for the database's server and the process of a service, if there is one.
    pub(crate) async fn new(database: &Database, service: Option<u32>) -> anyhow::Result<Self> {
        let mut connection = database.connect().await?;
        let (backend, is_local): (i32, bool) =
            sqlx::query_as("SELECT pg_backend_pid(), inet_server_addr() IS NULL")
                .fetch_one(&mut connection)
                .await?;
        // The number of a process on another machine would be somebody else's here.
        let backend = is_local.then_some(backend.cast_unsigned());
        Ok(Self {
            connection,
            service,
            postmaster: backend.and_then(machine::parent),
        })
    }

    /// Reads.
    pub(crate) async fn read(&mut self) -> anyhow::Result<Reading> {
        let wal =
            sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
                .fetch_one(&mut self.connection)
                .await?;
        let service = self.service.and_then(machine::cpu);
        let postgres = self.postmaster.and_then(machine::cpu_of_family);
        Ok(Reading {
            wal,
            service: service.unwrap_or_default(),
            postgres: postgres.unwrap_or_default(),
        })
    }

    /// Forgets the highest memory so far.
    pub(crate) fn reset_memory_peak(&self) {
        self.service
            .into_iter()
            .for_each(machine::reset_memory_peak);
    }

    /// The most memory the service has had since, in KiB.
    pub(crate) fn memory_peak_kib(&self) -> Option<u64> {
        self.service.and_then(machine::memory_peak_kib)
    }
}

impl Sub for Reading {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            wal: self.wal - earlier.wal,
            service: self.service.saturating_sub(earlier.service),
            postgres: self.postgres.saturating_sub(earlier.postgres),
        }
    }
}

impl AddAssign for Reading {
    fn add_assign(&mut self, other: Self) {
        self.wal += other.wal;
        self.service += other.service;
        self.postgres += other.postgres;
    }
}
