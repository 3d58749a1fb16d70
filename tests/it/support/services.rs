//! The parts that a service is made of, as the tests configure them.

use std::sync::Arc;
use std::time::Duration;

use invitations::capacity::Capacity;
use invitations::clock::{Clock, MockClock};
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::grpc::{GrpcConfig, TrustedProxies};
use invitations::service::Context;
use invitations::store::{Store, StoreConfig};

/// The context of use cases with these keys, without quotas.
pub(crate) fn context(clock: &Arc<MockClock>, keys: &str) -> Context {
    Context::new(
        Arc::clone(clock) as Arc<dyn Clock>,
        Arc::new(Keyring::parse(keys).unwrap()),
        Arc::new(links()),
    )
}

pub(super) fn links() -> LinkTemplate {
    LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment).unwrap()
}

pub(super) fn store(url: &str) -> Store {
    Store::new(url, store_config()).unwrap()
}

/// The timeouts are long, so that a busy machine does not fail a test.
pub(crate) fn store_config() -> StoreConfig {
    StoreConfig {
        connections_max: 8,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(10),
    }
}

pub(super) fn grpc_config() -> GrpcConfig {
    GrpcConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        serves_api: true,
        reflection: true,
        memory: Capacity::new(1 << 30),
        caller_rate: None,
        drain_timeout: Duration::from_secs(1),
        tls: None,
        trusted_proxies: TrustedProxies::default(),
    }
}
