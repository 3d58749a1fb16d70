//! Fold: counting events into the counters of their batches, so that what is read to count one stays little.

use crate::store::batches;

use super::{Service, ServiceError};

/// About how many rows of events one statement folds, so that it stays short.
const FOLD_ROWS_MAX: i64 = 1_000;
/// Most statements of one turn.
const FOLD_STATEMENTS_MAX: usize = 50;

impl Service {
    /// Folds the events that are final into the counts: all of them, or as many as one turn allows; returns how many rows
    /// of events there were.
    pub async fn fold(&self) -> Result<i64, ServiceError> {
        let mut total = 0;
        for _ in 0..FOLD_STATEMENTS_MAX {
            let folded = self
                .store
                .run("fold", |connection| {
                    Box::pin(async move {
                        Ok::<_, ServiceError>(batches::fold(connection, FOLD_ROWS_MAX).await?)
                    })
                })
                .await?;
            total += folded;
            // One that stopped before the horizon folded more.
            if folded <= FOLD_ROWS_MAX {
                break;
            }
        }
        Ok(total)
    }
}
