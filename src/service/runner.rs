//! Runs use cases: each in a named unit of database work, with retries.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::store::{Connection, Store};

use super::quotas::OrganizationLock;
use super::readiness::Readiness;
use super::{Context, ServiceError, UnitOfWork};

/// Most watches that read at the same time, so that calls have the rest of the pool.
const WATCH_READS_AT_ONCE_MAX: usize = 4;

/// One thing that the service does: a value that holds the request, and the work on one connection.
///
/// The work may run several times, if it conflicts with other transactions. It must not have effects outside of the
/// database. The store announces events and queued mail after the commit.
pub trait UseCase: Send + Sync + 'static {
    /// Names the transaction in logs.
    const NAME: &'static str;
    /// Whether the statements form one transaction. Otherwise each statement commits by itself.
    const IS_TRANSACTION: bool = true;
    type Output: Send + 'static;

    /// Whether the transaction is rolled back after the work: the call returns what it would do, and does nothing.
    fn is_dry_run(&self) -> bool {
        false
    }

    fn run(
        &self,
        work: &mut UnitOfWork<'_>,
    ) -> impl Future<Output = Result<Self::Output, ServiceError>> + Send;
}

/// The use cases, ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) store: Store,
    pub(super) context: Arc<Context>,
    pub(super) watch_reads: Arc<Semaphore>,
    pub(super) readiness: Readiness,
}

impl Service {
    /// A service that is not ready: the servers answer no calls before [`verify`](Self::verify) has succeeded.
    pub fn new(store: Store, context: Context) -> Self {
        Self {
            store,
            context: Arc::new(context),
            watch_reads: Arc::new(Semaphore::new(WATCH_READS_AT_ONCE_MAX)),
            readiness: Readiness::default(),
        }
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        self.context.clock()
    }

    /// Runs a use case. It continues if the caller stops waiting.
    ///
    /// Bulk calls of one organization run concurrently and reserve their quotas as their last act. A call that does not fit is
    /// rolled back and run again under the exclusive lock, where it sees what is left and plans with that.
    pub async fn run<U: UseCase>(&self, use_case: U) -> Result<U::Output, ServiceError> {
        let use_case = Arc::new(use_case);
        match self.run_under(OrganizationLock::Shared, &use_case).await {
            Err(ServiceError::NeedsExclusiveLock) => {
                self.run_under(OrganizationLock::Exclusive, &use_case).await
            }
            outcome => outcome,
        }
    }

    async fn run_under<U: UseCase>(
        &self,
        lock: OrganizationLock,
        use_case: &Arc<U>,
    ) -> Result<U::Output, ServiceError> {
        let work = work(lock, Arc::clone(&self.context), Arc::clone(use_case));
        if use_case.is_dry_run() {
            self.store.with_rolled_back_tx(U::NAME, work).await
        } else if U::IS_TRANSACTION {
            self.store.with_tx(U::NAME, work).await
        } else {
            self.store.run(U::NAME, work).await
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

fn work<U: UseCase>(
    lock: OrganizationLock,
    context: Arc<Context>,
    use_case: Arc<U>,
) -> impl for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<U::Output, ServiceError>>
+ Send
+ Sync
+ 'static {
    move |connection| {
        let (context, use_case) = (Arc::clone(&context), Arc::clone(&use_case));
        Box::pin(async move {
            let mut work = UnitOfWork::new(&context, connection.lend(), lock);
            let outcome = use_case.run(&mut work).await;
            let notifications = work.into_connection().into_notifications();
            connection.set_notifications(notifications);
            outcome
        })
    }
}
