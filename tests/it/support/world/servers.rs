//! The servers of a world: its own, and others over the same database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use invitations::clock::{Clock, MockClock};
use invitations::domain::keyring::Keyring;
use invitations::domain::quota::QuotaLimits;
use invitations::grpc::{GrpcConfig, GrpcServer};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::service::Service;
use invitations::store::{Listener, Store};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::World;
use crate::support::callers::{InvitationClient, caller_channel, callers};
use crate::support::fixtures::{EVENTS_KEPT, KEYS};
use crate::support::services::{context, grpc_config, store};

/// A second server over the database of a world.
pub(crate) struct SecondServer {
    pub(crate) client: InvitationClient,
    pub(crate) store: Store,
}

impl World {
    /// The use cases of a process that has other keys, over the same database.
    pub(crate) fn service_with_keys(&self, keys: &str) -> Service {
        self.service_with(keys, QuotaLimits::OFF)
    }

    /// The use cases of a process that has other keys and quotas, over the same database.
    pub(crate) fn service_with(&self, keys: &str, quotas: QuotaLimits) -> Service {
        let context = context(&self.clock, keys).with_quotas(quotas);
        Service::new(store(&self.database_url()), context)
    }

    /// Lets the server exchange notifications with other servers. It also looks for changes without a notification,
    /// once per interval. Other worlds do not listen, because listening takes a connection and runs statements.
    pub(crate) fn listen(&self, interval: Duration) {
        self.listen_for(&self.store, interval);
    }

    /// Starts another server over the same database, which listens as [`listen`](Self::listen) says.
    pub(crate) async fn start_second_server(&self, interval: Duration) -> SecondServer {
        let store = store(&self.database_url());
        let context = context(&self.clock, KEYS).with_events_kept(Some(EVENTS_KEPT));
        let service = Service::new(store.clone(), context);
        let (_, channel) =
            start_server(grpc_config(), service, "", &self.clock, &self.stopping).await;
        self.listen_for(&store, interval);
        SecondServer {
            client: InvitationServiceClient::new(caller_channel(&channel, "all")),
            store,
        }
    }

    fn listen_for(&self, store: &Store, interval: Duration) {
        let mut listener = Listener::new(store.clone());
        listener.poll_interval = interval;
        tokio::spawn(listener.run(self.stopping.clone()));
    }
}

/// Serves until `stopping` is cancelled. Returns the address of the gRPC port and a channel to it.
pub(super) async fn start_server(
    config: GrpcConfig,
    service: Service,
    issuers: &str,
    clock: &Arc<MockClock>,
    stopping: &CancellationToken,
) -> (SocketAddr, Channel) {
    service.readiness().set_ready();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let callers = callers(issuers, clock);
    let keyring = Arc::new(Keyring::parse(KEYS).unwrap());
    let server = GrpcServer::bind(config, service, callers, keyring);
    let server = server.await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.run(stopping.clone()));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    (address, endpoint.connect_lazy())
}
