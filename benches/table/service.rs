//! The program itself, as a process of its own that answers calls and delivers nothing, and its clients.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use invitations::domain::role::Role;
use invitations::domain::scope::Scope;
use invitations::grpc::limits::RESPONSE_BYTES_MAX;
use invitations::identity::{CallerCredential, CallerEntry};
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{
    Membership, Organization, UpsertMembershipsRequest, UpsertOrganizationsRequest,
    UpsertUsersRequest, User,
};
use invitations::settings::callers_file::to_toml;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time::sleep;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::database::Database;
use crate::people::{INVITER, KEYS, ORGANIZATION};

const TOKEN: &str = "bench";
/// How long it may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// A client of the service.
pub(crate) type Client = InvitationServiceClient<Channel>;

/// The process; it is killed when dropped.
pub(crate) struct Service {
    child: Child,
    folder: TempDir,
    address: String,
}

impl Service {
    /// Starts it on a database and tells it of an organization with one admin.
    ///
    /// Settings are the program's own but for these: no quota, for they would be in the way, and statements may take as
    /// long as they do for the reference. `INVITATIONS_` settings of the environment are not passed on.
    pub(crate) async fn start(database: &Database) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let caller = CallerEntry {
            name: "bench".to_owned(),
            credential: CallerCredential::TokenSha256(Sha256::digest(TOKEN).into()),
            scopes: Scope::ALL.to_vec(),
            organizations: None,
        };
        fs::write(folder.path().join("callers"), to_toml(&caller))?;
        fs::write(folder.path().join("keys"), KEYS)?;
        let child = Command::new(env!("CARGO_BIN_EXE_invitations"))
            .args(["serve", "--role", "api"])
            .env_clear()
            .env("INVITATIONS_DATABASE_URL", database.url())
            .env("INVITATIONS_LISTEN", "127.0.0.1:0")
            .env("INVITATIONS_CALLERS_FILE", folder.path().join("callers"))
            .env("INVITATIONS_KEYS_FILE", folder.path().join("keys"))
            .env("INVITATIONS_LINK_BASE_URL", "https://example.com/join")
            .env(
                "INVITATIONS_MAIL_FROM",
                "Invitations <invitations@example.com>",
            )
            .env("INVITATIONS_QUOTA_ORGANIZATION_PENDING", "0")
            .env("INVITATIONS_QUOTA_ORGANIZATION_DAILY", "0")
            .env("INVITATIONS_QUOTA_ADDRESS_DAILY", "0")
            .env("INVITATIONS_CALLER_RATE", "0")
            .env("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "20s")
            .env("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "30s")
            .env("INVITATIONS_DRAIN_DELAY", "0s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("cannot start the service")?;
        let mut service = Self {
            child,
            folder,
            address: String::new(),
        };
        service.address = service.listening().await?;
        service.introduce().await?;
        Ok(service)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(InvitationServiceClient::new(self.channel().await?)
            .max_decoding_message_size(RESPONSE_BYTES_MAX))
    }

    /// As many clients.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }

    /// A connection.
    pub(crate) async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address))?
            .connect()
            .await?)
    }

    /// Has it end, and hears whether it ended well.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status()?;
        ensure!(status.success(), "the service was gone");
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the service failed: {}", self.log()?);
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        bail!("the service did not end");
    }

    /// Waits until it serves; where it listens.
    async fn listening(&mut self) -> anyhow::Result<String> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let log = self.log()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("the service ended with {status}: {log}");
            }
            let address = log
                .split_once("server.address=")
                .and_then(|(_, rest)| rest.split_once(' '));
            if let Some((address, _)) = address
                && is_serving(address).await
            {
                return Ok(address.to_owned());
            }
            sleep(PAUSE).await;
        }
        bail!("the service does not serve: {}", self.log()?);
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// The organization and who invites into it.
    async fn introduce(&self) -> anyhow::Result<()> {
        let mut directory = DirectoryServiceClient::new(self.channel().await?);
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
        let organizations = directory.upsert_organizations(authorized(organizations)?);
        let mut failed_count = organizations.await?.into_inner().failed_count;
        let users = directory.upsert_users(authorized(users)?);
        failed_count += users.await?.into_inner().failed_count;
        let memberships = directory.upsert_memberships(authorized(memberships)?);
        failed_count += memberships.await?.into_inner().failed_count;
        ensure!(
            failed_count == 0,
            "the directory refused {failed_count} items"
        );
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn is_serving(address: &str) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
        return false;
    };
    let request = HealthCheckRequest {
        service: "invitation.v1.InvitationService".to_owned(),
    };
    let answer = HealthClient::new(endpoint.connect_lazy())
        .check(request)
        .await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

/// A request of the only caller.
pub(crate) fn authorized<M>(message: M) -> anyhow::Result<Request<M>> {
    let mut request = Request::new(message);
    let authorization = format!("Bearer {TOKEN}")
        .parse()
        .map_err(|_| anyhow!("the token is no header"))?;
    request
        .metadata_mut()
        .insert("authorization", authorization);
    Ok(request)
}
