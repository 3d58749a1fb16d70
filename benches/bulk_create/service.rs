//! The service as it runs in production, but for its worker: in this process, behind a real socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use invitations::callers_file::{CallerCredential, CallerEntry, CallersFile};
use invitations::clock::SystemClock;
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::domain::quota::QuotaLimits;
use invitations::domain::role::Role;
use invitations::domain::scope::Scope;
use invitations::grpc::limits::RESPONSE_OCTETS_MAX;
use invitations::grpc::{GrpcConfig, Server, TrustedProxies};
use invitations::identity::Callers;
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{
    BulkCreateRequest, Membership, NewInvitation, Organization, UpsertMembershipsRequest,
    UpsertOrganizationsRequest, UpsertUsersRequest, User,
};
use invitations::service::Service;
use invitations::shutdown::Tasks;
use invitations::store::{Store, StoreConfig, StoreError, invitations as table};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tonic::Request;
use tonic::transport::Channel;

use crate::people::{Batch, INVITER, KEY_ID, ORGANIZATION};

const TOKEN: &str = "bench";
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// As the program has them by default.
const STORE_CONFIG: StoreConfig = StoreConfig {
    connections_max: 16,
    acquire_timeout: Duration::from_millis(500),
    statement_timeout: Duration::from_secs(5),
    lock_timeout: Duration::from_secs(2),
};

/// Those that are counted by a call, too high to be met.
const QUOTAS: QuotaLimits = QuotaLimits {
    organization_daily: Some(u32::MAX),
    address_daily: Some(u32::MAX),
    ..QuotaLimits::OFF
};

/// The service with a client.
pub(crate) struct Running {
    store: Store,
    tasks: Tasks,
    client: InvitationServiceClient<Channel>,
}

impl Running {
    /// Starts it and tells it of an organization with one admin.
    pub(crate) async fn start(database_url: &str) -> anyhow::Result<Self> {
        let store = Store::new(database_url, STORE_CONFIG)?;
        let keyring = Arc::new(Keyring::parse(&format!("{KEY_ID} {MASTER_KEY}"))?);
        let links = LinkTemplate::new("https://example.com/join", LinkMode::Fragment)
            .context("the link's base is no URL")?;
        let service = Service::new(
            store.clone(),
            Arc::new(SystemClock),
            Arc::clone(&keyring),
            Arc::new(links),
            Arc::new(Notify::new()),
        )
        .with_quotas(QUOTAS);
        let config = GrpcConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            serves_api: true,
            reflection: false,
            caller_rate: None,
            drain_timeout: STOP_TIMEOUT,
            tls: None,
            trusted_proxies: TrustedProxies::default(),
        };
        let server = Server::bind(config, service, callers()?, keyring)
            .await
            .map_err(|error| anyhow!(error))?;
        let address = server.local_addr()?;
        let tasks = Tasks::new();
        let serving = server.run(tasks.stopping().clone());
        tasks.spawn("server", async move {
            // A client without a server fails and says so.
            let _ = serving.await;
        });
        let channel = Channel::from_shared(format!("http://{address}"))?
            .connect()
            .await?;
        introduce(channel.clone()).await?;
        Ok(Self {
            store,
            tasks,
            client: InvitationServiceClient::new(channel)
                .max_decoding_message_size(RESPONSE_OCTETS_MAX),
        })
    }

    /// Invites by BulkCreate; the time from sending the message to holding the answer, both as structs.
    pub(crate) async fn bulk_create(&mut self, emails: Vec<String>) -> anyhow::Result<Duration> {
        let count = emails.len();
        let request = BulkCreateRequest {
            organization_id: ORGANIZATION.to_owned(),
            inviter_user_id: INVITER.to_owned(),
            invitations: emails
                .into_iter()
                .map(|email| NewInvitation {
                    email,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let request = authorized(request)?;
        let started = Instant::now();
        let response = self.client.bulk_create(request).await?.into_inner();
        let took = started.elapsed();
        ensure!(
            usize::try_from(response.created_count)? == count,
            "{} of {count} were created",
            response.created_count
        );
        Ok(took)
    }

    /// Inserts the rows by the store alone: begin, the statement, commit.
    pub(crate) async fn insert(&self, batch: Batch) -> anyhow::Result<Duration> {
        let batch = Arc::new(batch);
        let shared = Arc::clone(&batch);
        let started = Instant::now();
        let written = self
            .store
            .with_tx::<_, StoreError, _>("bench", move |connection| {
                let batch = Arc::clone(&shared);
                Box::pin(
                    async move { table::insert_many(connection, batch.row(), &batch.rows).await },
                )
            })
            .await?;
        let took = started.elapsed();
        ensure!(
            written.len() == batch.rows.len(),
            "an address was not fresh"
        );
        Ok(took)
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.client);
        ensure!(
            self.tasks.stop(STOP_TIMEOUT).await,
            "the server did not stop"
        );
        self.store.close().await;
        Ok(())
    }
}

fn callers() -> anyhow::Result<Callers> {
    let file = CallersFile {
        callers: vec![CallerEntry {
            name: "bench".to_owned(),
            credential: CallerCredential::TokenSha256(Sha256::digest(TOKEN).into()),
            scopes: Scope::ALL.into(),
            organizations: None,
        }],
        ..CallersFile::default()
    };
    Callers::new(file, Arc::new(SystemClock)).map_err(|problems| anyhow!(problems.join("; ")))
}

fn authorized<M>(message: M) -> anyhow::Result<Request<M>> {
    let mut request = Request::new(message);
    let authorization = format!("Bearer {TOKEN}").parse()?;
    request
        .metadata_mut()
        .insert("authorization", authorization);
    Ok(request)
}

/// The organization and who invites into it.
async fn introduce(channel: Channel) -> anyhow::Result<()> {
    let mut directory = DirectoryServiceClient::new(channel);
    let organizations = UpsertOrganizationsRequest {
        organizations: vec![Organization {
            id: ORGANIZATION.to_owned(),
            name: "Acme".to_owned(),
            ..Default::default()
        }],
    };
    let users = UpsertUsersRequest {
        users: vec![User {
            id: INVITER.to_owned(),
            name: "Ada King".to_owned(),
            verified_emails: vec!["ada.king@example.com".to_owned()],
        }],
    };
    let memberships = UpsertMembershipsRequest {
        memberships: vec![Membership {
            organization_id: ORGANIZATION.to_owned(),
            user_id: INVITER.to_owned(),
            role: Role::ADMIN.to_owned(),
            ..Default::default()
        }],
    };
    let failed_count = directory
        .upsert_organizations(authorized(organizations)?)
        .await?
        .into_inner()
        .failed_count
        + directory
            .upsert_users(authorized(users)?)
            .await?
            .into_inner()
            .failed_count
        + directory
            .upsert_memberships(authorized(memberships)?)
            .await?
            .into_inner()
            .failed_count;
    ensure!(
        failed_count == 0,
        "the directory refused {failed_count} items"
    );
    Ok(())
}
