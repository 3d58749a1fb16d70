//! Starting a world.

use std::num::NonZeroU32;
use std::sync::Arc;

use invitations::clock::{Clock, MockClock};
use invitations::delivery::{DeliveryConfig, LaneConfig, MessageBuilder, Reaper, Worker};
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::keyring::Keyring;
use invitations::domain::public_url::PublicUrl;
use invitations::domain::quota::QuotaLimits;
use invitations::grpc::GrpcConfig;
use invitations::mail::message::{Composer, Sender};
use invitations::service::Service;
use tokio_util::sync::CancellationToken;

use super::World;
use super::servers::start_server;
use crate::support::database::Database;
use crate::support::fixtures::{EVENTS_KEPT, KEYS, START, populate};
use crate::support::lanes::{delivery_config, lane};
use crate::support::relay::{Encryption, Relay};
use crate::support::services::{context, grpc_config, links, store};

/// What differs from the usual world: one lane to the relay, no quotas, no caller rate, no issuers.
pub(crate) struct WorldBuilder<'a> {
    delivery: Box<dyn FnOnce(&Relay) -> DeliveryConfig + 'a>,
    quotas: QuotaLimits,
    caller_rate: Option<NonZeroU32>,
    issuers: String,
}

impl World {
    /// Starts the usual world.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    pub(crate) fn builder<'a>() -> WorldBuilder<'a> {
        WorldBuilder {
            delivery: Box::new(|relay| delivery_config(vec![lane(relay)])),
            quotas: QuotaLimits::OFF,
            caller_rate: None,
            issuers: String::new(),
        }
    }
}

impl<'a> WorldBuilder<'a> {
    /// Delivers over these lanes. The closure gets the relay of the world.
    pub(crate) fn lanes(self, lanes: impl FnOnce(&Relay) -> Vec<LaneConfig> + 'a) -> Self {
        self.delivery(|relay| delivery_config(lanes(relay)))
    }

    /// Delivers with this configuration. The closure gets the relay of the world.
    pub(crate) fn delivery(mut self, delivery: impl FnOnce(&Relay) -> DeliveryConfig + 'a) -> Self {
        self.delivery = Box::new(delivery);
        self
    }

    pub(crate) fn quotas(mut self, quotas: QuotaLimits) -> Self {
        self.quotas = quotas;
        self
    }

    /// Limits each caller to this many recipients a second.
    pub(crate) fn caller_rate(mut self, rate: u32) -> Self {
        self.caller_rate = NonZeroU32::new(rate);
        self
    }

    /// Accepts the tokens of these issuers, which are tables of a callers file.
    pub(crate) fn issuers(mut self, issuers: &str) -> Self {
        issuers.clone_into(&mut self.issuers);
        self
    }

    pub(crate) async fn start(self) -> World {
        let database = Database::create().await;
        let relay = Relay::start(Encryption::None).await;
        let clock = Arc::new(MockClock::new(START));
        let store = store(&database.url());
        let context = context(&clock, KEYS)
            .with_quotas(self.quotas)
            .with_events_kept(Some(EVENTS_KEPT));
        let service = Service::new(store.clone(), context);
        let stopping = CancellationToken::new();
        let config = GrpcConfig {
            caller_rate: self.caller_rate,
            ..grpc_config()
        };
        let (address, channel) =
            start_server(config, service.clone(), &self.issuers, &clock, &stopping).await;
        let delivery = (self.delivery)(&relay);
        let world = World {
            reaper: Reaper::new(
                store.clone(),
                Arc::clone(&clock) as Arc<dyn Clock>,
                delivery.lease_duration,
            ),
            worker: Some(Worker::new(
                store.clone(),
                Arc::clone(&clock) as Arc<dyn Clock>,
                message_builder(),
                delivery,
            )),
            store,
            clock,
            relay,
            service,
            address,
            channel,
            database,
            stopping,
            may_leave_mail: false,
        };
        populate(&world.directory()).await;
        world
    }
}

fn message_builder() -> MessageBuilder {
    let keyring = Arc::new(Keyring::parse(KEYS).unwrap());
    let sender = Sender::parse("Invitations", "invitations@example.com", None).unwrap();
    MessageBuilder {
        tagger: AddressTagger::new(&keyring),
        keyring,
        links: Arc::new(links()),
        composer: Composer::new(sender).unwrap(),
        message_id_domain: "example.com".to_owned(),
        bounce_mailbox: Some("bounces@example.com".to_owned()),
        public_url: PublicUrl::parse("https://invitations.example.com"),
    }
}
