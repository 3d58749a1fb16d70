//! Folds events into the counts of their batches, so that few rows have to be read to count a batch.

use crate::store::batches;

use super::ServiceError;
use super::runner::{Service, UseCase};
use super::unit_of_work::UnitOfWork;

/// About how many rows of events one statement folds, so that it stays short.
const FOLD_ROWS_MAX: i64 = 1_000;
/// Most statements of one call.
const FOLD_STATEMENTS_MAX: usize = 50;

/// Folds some of the events that are final. Returns how many rows.
struct FoldEvents;

impl Service {
    /// Folds the events that are final into the counts: all, or as many as one call may. Returns how many rows of events.
    pub async fn fold(&self) -> Result<i64, ServiceError> {
        let mut total = 0;
        for _ in 0..FOLD_STATEMENTS_MAX {
            let folded = self.run(FoldEvents).await?;
            total += folded;
            // A statement that was limited folds more rows than the limit, because it ends with a transaction.
            if folded <= FOLD_ROWS_MAX {
                break;
            }
        }
        Ok(total)
    }
}

impl UseCase for FoldEvents {
    const NAME: &'static str = "fold";
    const IS_TRANSACTION: bool = false;
    type Output = i64;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<i64, ServiceError> {
        Ok(batches::fold_events(work, FOLD_ROWS_MAX).await?)
    }
}
