//! Runs use cases: each in a named unit of database work, with retries.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::store::{Connection, Store};

use super::ServiceError;
use super::context::Context;
use super::organization_lock::OrganizationLock;
use super::unit_of_work::UnitOfWork;

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
    /// The result.
    type Output: Send + 'static;

    /// Does the work.
    fn run(
        &self,
        work: &mut UnitOfWork<'_>,
    ) -> impl Future<Output = Result<Self::Output, ServiceError>> + Send;
}

/// A use case of an organization that runs beside others first, and alone if that fails.
///
/// Bulk calls of one organization run concurrently and reserve their quotas as their last act. A call that does not fit is
/// rolled back and run again under the exclusive lock, where it sees what is left and plans with that.
pub(super) trait EscalatingUseCase: Send + Sync + 'static {
    /// See [`UseCase::NAME`].
    const NAME: &'static str;
    /// The result.
    type Output: Send + 'static;

    /// Does the work under this lock.
    fn run(
        &self,
        lock: OrganizationLock,
        work: &mut UnitOfWork<'_>,
    ) -> impl Future<Output = Result<Self::Output, ServiceError>> + Send;
}

/// A use case under a lock.
struct Locked<U> {
    lock: OrganizationLock,
    use_case: Arc<U>,
}

impl<U: EscalatingUseCase> UseCase for Locked<U> {
    const NAME: &'static str = U::NAME;
    type Output = U::Output;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<U::Output, ServiceError> {
        self.use_case.run(self.lock, work).await
    }
}

/// The use cases, ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) store: Store,
    pub(super) context: Arc<Context>,
    /// Limits how many watches read at the same time.
    pub(super) watch_reads: Arc<Semaphore>,
}

impl Service {
    /// Use cases over a store.
    pub fn new(store: Store, context: Context) -> Self {
        Self {
            store,
            context: Arc::new(context),
            watch_reads: Arc::new(Semaphore::new(WATCH_READS_AT_ONCE_MAX)),
        }
    }

    /// The clock of the use cases.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.context.clock()
    }

    /// Checks that the database answers and accepts writes.
    pub async fn ping(&self) -> Result<(), ServiceError> {
        Ok(self.store.ping().await?)
    }

    /// Runs a use case. It continues if the caller stops waiting.
    pub async fn run<U: UseCase>(&self, use_case: U) -> Result<U::Output, ServiceError> {
        let shared = Arc::new((Arc::clone(&self.context), use_case));
        if U::IS_TRANSACTION {
            self.store.with_tx(U::NAME, work(shared)).await
        } else {
            self.store.run(U::NAME, work(shared)).await
        }
    }

    /// Runs a use case beside others of its organization, and alone if it has to.
    pub(super) async fn run_escalating<U: EscalatingUseCase>(
        &self,
        use_case: Arc<U>,
    ) -> Result<U::Output, ServiceError> {
        let locked = |lock| Locked {
            lock,
            use_case: Arc::clone(&use_case),
        };
        match self.run(locked(OrganizationLock::Shared)).await {
            Err(ServiceError::NeedsExclusiveLock) => {
                self.run(locked(OrganizationLock::Exclusive)).await
            }
            outcome => outcome,
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

/// The unit of work of a use case.
fn work<U: UseCase>(
    shared: Arc<(Arc<Context>, U)>,
) -> impl for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<U::Output, ServiceError>>
+ Send
+ Sync
+ 'static {
    move |connection| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (context, use_case) = &*shared;
            let mut work = UnitOfWork::new(context, connection.lend());
            let outcome = use_case.run(&mut work).await;
            let notifications = work.into_connection().into_notifications();
            connection.set_notifications(notifications);
            outcome
        })
    }
}
