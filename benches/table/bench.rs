//! The environment of one operation: a database, a connection pool and the results so far.

use std::time::Duration;

use anyhow::ensure;
use invitations::store::{Store, StoreConfig};

use crate::arguments::Arguments;
use crate::comparison::{Comparison, ComparisonResult};
use crate::database::BenchDatabase;
use crate::load::Sample;
use crate::report;
use crate::resources::{self, ResourceMeter};

/// As many connections as the service has by default. The timeouts allow for a busy machine.
const STORE_CONFIG: StoreConfig = StoreConfig {
    connections_max: 16,
    acquire_timeout: Duration::from_secs(20),
    statement_timeout: Duration::from_secs(30),
    lock_timeout: Duration::from_secs(2),
};

pub(crate) struct Bench<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) database: BenchDatabase,
    /// The pool of the references.
    pub(crate) store: Store,
    results: Vec<ComparisonResult>,
}

impl<'a> Bench<'a> {
    pub(crate) async fn new(server_url: &str, arguments: &'a Arguments) -> anyhow::Result<Self> {
        let database = BenchDatabase::create(server_url).await?;
        let store = Store::new(database.url(), STORE_CONFIG)?;
        Ok(Self {
            arguments,
            database,
            store,
            results: Vec::new(),
        })
    }

    /// Measures one row of the table. With `--alone` the reference is not called.
    pub(crate) async fn compare(
        &mut self,
        comparison: Comparison,
        mut service: impl AsyncFnMut() -> anyhow::Result<Sample>,
        mut reference: impl AsyncFnMut() -> anyhow::Result<Sample>,
    ) -> anyhow::Result<()> {
        let mut result = ComparisonResult::new(comparison);
        let has_reference = !self.arguments.alone;
        for round in 0..comparison.warm_up_rounds {
            if round == 0 && has_reference && !comparison.inserts_into.is_empty() {
                let rows = self.compare_rows(&comparison, &mut service, &mut reference);
                result.rows_per_item = Some(rows.await?);
                continue;
            }
            service().await?;
            if has_reference {
                reference().await?;
            }
        }
        let mut meter = ResourceMeter::new(&self.database, comparison.process).await?;
        meter.reset_memory_peak();
        for round in 0..comparison.rounds {
            let is_reference_first = round % 2 == 1;
            let mut reference_sample = None;
            if has_reference && is_reference_first {
                reference_sample = Some(reference().await?);
            }
            meter.start().await?;
            let service_sample = service().await?;
            meter.stop().await?;
            if has_reference && !is_reference_first {
                reference_sample = Some(reference().await?);
            }
            result.add(service_sample, reference_sample)?;
        }
        result.usage = meter.total();
        result.memory_peak_kib = meter.memory_peak_kib();
        result.load_average = resources::load_average();
        // Shows progress, and keeps the figures if a later comparison fails.
        eprintln!("{}", report::line(&result));
        self.results.push(result);
        Ok(())
    }

    /// Runs one round and fails unless both sides insert the same number of rows. Returns the rows that the service
    /// inserts for one item.
    async fn compare_rows(
        &self,
        comparison: &Comparison,
        service: &mut impl AsyncFnMut() -> anyhow::Result<Sample>,
        reference: &mut impl AsyncFnMut() -> anyhow::Result<Sample>,
    ) -> anyhow::Result<f64> {
        let start = self.database.row_counts().await?;
        let items = service().await?.items;
        let middle = self.database.row_counts().await?;
        reference().await?;
        let end = self.database.row_counts().await?;
        for table in comparison.inserts_into {
            let from_service = middle[*table] - start[*table];
            let from_reference = end[*table] - middle[*table];
            ensure!(
                from_service == from_reference && from_service > 0,
                "{}: the service inserted {from_service} rows into {table}, the reference {from_reference}",
                comparison.operation
            );
        }
        let rows = middle.values().sum::<i64>() - start.values().sum::<i64>();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        Ok(rows as f64 / items as f64)
    }

    /// Drops the database and returns the results.
    pub(crate) async fn finish(self) -> anyhow::Result<Vec<ComparisonResult>> {
        self.store.close().await;
        self.database.drop().await?;
        Ok(self.results)
    }
}
