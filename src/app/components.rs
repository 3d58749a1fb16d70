//! What the tasks of a process share.

use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::{Clock, SystemClock};
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::service::{Context, Service};
use crate::settings::Settings;
use crate::store::Store;

pub(super) struct Components {
    pub clock: Arc<dyn Clock>,
    pub keyring: Arc<Keyring>,
    pub links: Arc<LinkTemplate>,
    pub store: Store,
    pub service: Service,
}

impl Components {
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keyring = Arc::new(settings.keyring.clone());
        let links = Arc::new(settings.links.clone());
        let store = Store::new(settings.database_url(), settings.store)
            .context("cannot use the database URL")?;
        let context = Context::new(Arc::clone(&clock), Arc::clone(&keyring), Arc::clone(&links))
            .with_quotas(settings.quotas)
            .with_events_kept(settings.retention.events);
        let service = Service::new(store.clone(), context);
        Ok(Self {
            clock,
            keyring,
            links,
            store,
            service,
        })
    }
}
