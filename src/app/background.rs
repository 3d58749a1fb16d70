//! The background tasks of a process. Each one runs until the process stops.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{MessageBuilder, Reaper, Worker};
use crate::domain::address_tag::AddressTagger;
use crate::service::{BacklogAlarm, GetBacklog, Retention, Service};
use crate::settings::Settings;
use crate::shutdown::Tasks;
use crate::store::Listener;

use super::components::Components;

/// Time between two looks at the backlog, and so between two warnings that emails are not sent.
const BACKLOG_INTERVAL: Duration = Duration::from_mins(1);
/// Time between two folds of new events into the counts of their batches.
const FOLD_INTERVAL: Duration = Duration::from_secs(1);

/// Spawns what runs in every process. A process that only answers calls also warns if no process delivers emails.
pub(super) fn spawn_common(tasks: &Tasks, components: &Components) {
    let listener = Listener::new(components.store.clone());
    tasks.spawn("listener", listener.run(tasks.stopping().clone()));
    spawn_loop(tasks, "backlog", watch_backlog(components.service.clone()));
}

/// Spawns delivery and the periodic jobs of the database.
pub(super) fn spawn_worker(tasks: &Tasks, settings: Settings, components: &Components) {
    let Components {
        clock,
        keyring,
        links,
        store,
        service,
    } = components;
    let reaper = Reaper::new(
        store.clone(),
        Arc::clone(clock),
        settings.delivery.lease_duration,
    );
    let builder = MessageBuilder {
        tagger: AddressTagger::new(keyring),
        keyring: Arc::clone(keyring),
        links: Arc::clone(links),
        composer: settings.composer,
        message_id_domain: settings.message_id_domain,
        bounce_mailbox: settings.bounce_mailbox,
        public_url: settings.public_url,
    };
    let worker = Worker::new(store.clone(), Arc::clone(clock), builder, settings.delivery);
    tasks.spawn("worker", worker.run(tasks.stopping().clone()));
    tasks.spawn("reaper", reaper.run(tasks.stopping().clone()));
    spawn_loop(tasks, "folder", fold(service.clone()));
    let sweep = sweep(service.clone(), settings.sweep_interval, settings.retention);
    spawn_loop(tasks, "sweeper", sweep);
}

/// Spawns a task that loops forever. It is cancelled at its next await when the process stops; what it awaits is
/// either a sleep or work that finishes in a task of its own.
fn spawn_loop(tasks: &Tasks, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let stopping = tasks.stopping().clone();
    tasks.spawn(name, async move {
        stopping.run_until_cancelled(task).await;
    });
}

async fn watch_backlog(service: Service) {
    let mut alarm = BacklogAlarm::default();
    loop {
        tokio::time::sleep(BACKLOG_INTERVAL).await;
        match service.run(GetBacklog).await {
            Ok(backlog) => alarm.update(&backlog),
            Err(error) => warn_failed("count the backlog", &error),
        }
    }
}

async fn fold(service: Service) {
    loop {
        if let Err(error) = service.fold().await {
            warn_failed("fold events", &error);
        }
        tokio::time::sleep(FOLD_INTERVAL).await;
    }
}

/// Expires invitations, queues reminders and deletes what has passed its retention.
async fn sweep(service: Service, interval: Duration, retention: Retention) {
    loop {
        if let Err(error) = service.sweep().await {
            warn_failed("expire invitations", &error);
        }
        if let Err(error) = service.remind().await {
            warn_failed("queue reminders", &error);
        }
        if let Err(error) = service.purge(&retention).await {
            warn_failed("delete old rows", &error);
        }
        tokio::time::sleep(interval).await;
    }
}

fn warn_failed(what: impl Display, error: &(dyn Error + 'static)) {
    tracing::warn!(error, "cannot {what}");
}
