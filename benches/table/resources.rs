//! What work costs besides time: write-ahead log, memory and processor time. Memory and processor time are read from Linux'
//! `/proc`; on other systems, and for Postgres on another machine, they are missing.

use std::fs;
use std::time::Duration;

use sqlx::PgConnection;

use crate::database::BenchDatabase;

/// One tick of the times in `/proc`: `USER_HZ` is 100 on Linux.
const TICK: Duration = Duration::from_millis(10);

pub(crate) struct ResourceMeter {
    connection: PgConnection,
    process: Option<u32>,
    postmaster: Option<u32>,
    start: ResourceUsage,
    total: ResourceUsage,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct ResourceUsage {
    pub(crate) wal_bytes: i64,
    /// Processor time of the measured process.
    pub(crate) process: Duration,
    /// Processor time of all processes of Postgres.
    pub(crate) postgres: Duration,
}

impl ResourceMeter {
    pub(crate) async fn new(
        database: &BenchDatabase,
        process: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut connection = database.connect().await?;
        let (backend, is_local): (i32, bool) =
            sqlx::query_as("SELECT pg_backend_pid(), inet_server_addr() IS NULL")
                .fetch_one(&mut connection)
                .await?;
        // A process id of another machine would name an unrelated process here.
        let backend = is_local.then(|| ProcessStatus::read(backend.cast_unsigned()));
        Ok(Self {
            connection,
            process,
            postmaster: backend.flatten().map(|backend| backend.parent),
            start: ResourceUsage::default(),
            total: ResourceUsage::default(),
        })
    }

    /// Starts a measurement.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.start = self.read().await?;
        Ok(())
    }

    /// Adds the usage since the start to the total.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let end = self.read().await?;
        self.total.wal_bytes += end.wal_bytes - self.start.wal_bytes;
        self.total.process += end.process.saturating_sub(self.start.process);
        self.total.postgres += end.postgres.saturating_sub(self.start.postgres);
        Ok(())
    }

    pub(crate) fn total(&self) -> ResourceUsage {
        self.total
    }

    async fn read(&mut self) -> anyhow::Result<ResourceUsage> {
        let wal_bytes =
            sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
                .fetch_one(&mut self.connection)
                .await?;
        let processor_time = |pid: Option<u32>| pid.and_then(processor_time).unwrap_or_default();
        Ok(ResourceUsage {
            wal_bytes,
            process: processor_time(self.process),
            postgres: processor_time(self.postmaster),
        })
    }

    /// Sets the peak back to the memory that the process has now. Where that is not allowed, the peak is the one since the
    /// process started.
    pub(crate) fn reset_memory_peak(&self) {
        if let Some(pid) = self.process {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    pub(crate) fn memory_peak_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

/// The load average of the last minute.
pub(crate) fn load_average() -> Option<f64> {
    let line = fs::read_to_string("/proc/loadavg").ok()?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor time of a process and its children, including children that ended.
fn processor_time(pid: u32) -> Option<Duration> {
    let mut ticks = ProcessStatus::read(pid)?.ticks_with_ended_children;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let child = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(child) = child.and_then(ProcessStatus::read)
            && child.parent == pid
        {
            ticks += child.ticks_with_ended_children;
        }
    }
    Some(TICK * ticks)
}

struct ProcessStatus {
    parent: u32,
    ticks_with_ended_children: u32,
}

impl ProcessStatus {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The process name is in parentheses and may contain anything. After it are the state and numbers.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut numbers = rest.split(' ').skip(1).map(str::parse);
        Some(Self {
            parent: numbers.next()?.ok()?,
            ticks_with_ended_children: numbers.skip(9).take(4).sum::<Result<u32, _>>().ok()?,
        })
    }
}
