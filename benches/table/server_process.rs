//! The server as a process of its own, and its clients.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use invitations::domain::scope::Scope;
use invitations::grpc::limits::RESPONSE_BYTES_MAX;
use invitations::identity::{CallerCredential, CallerEntry};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::settings::callers_file::to_toml;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::database::BenchDatabase;
use crate::seed::KEYS;

const TOKEN: &str = "bench";
const AUTHORIZATION: &str = "Bearer bench";
/// Longest wait for the process to start or to stop.
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A connection that adds the token to each request.
pub(crate) type AuthorizedChannel =
    InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;
pub(crate) type InvitationClient = InvitationServiceClient<AuthorizedChannel>;

/// The process. Dropping it kills the process.
pub(crate) struct ServerProcess {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server that answers calls and sends no email.
    pub(crate) async fn start_api(database: &BenchDatabase) -> anyhow::Result<Self> {
        Self::start(database, &[("INVITATIONS_ROLE", "api")]).await
    }

    /// Starts a server. All settings are the defaults, apart from `settings`, quotas and rate limits, which are off, and
    /// timeouts, which allow for a busy machine. The process does not inherit the environment.
    pub(crate) async fn start(
        database: &BenchDatabase,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let caller = CallerEntry {
            name: "bench".to_owned(),
            credential: CallerCredential::TokenSha256(Sha256::digest(TOKEN).into()),
            scopes: Scope::ALL.to_vec(),
            organizations: None,
        };
        fs::write(folder.path().join("callers"), to_toml(&caller))?;
        fs::write(folder.path().join("keys"), KEYS)?;
        let child = Command::new(env!("CARGO_BIN_EXE_invitations"))
            .arg("serve")
            .env_clear()
            .env("INVITATIONS_DATABASE_URL", database.url())
            .env("INVITATIONS_LISTEN", address.to_string())
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
            // Callers of a measurement share one token.
            .env("INVITATIONS_MEMORY_BUDGET", "2GiB")
            .env("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "20s")
            .env("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "30s")
            .env("INVITATIONS_DRAIN_DELAY", "0s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .envs(settings.iter().copied())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the server")?;
        let mut server = Self {
            child,
            folder,
            address,
        };
        server.wait_until_serving().await?;
        Ok(server)
    }

    /// The process id, while the process is running.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<InvitationClient> {
        Ok(InvitationServiceClient::new(self.channel().await?)
            .max_decoding_message_size(RESPONSE_BYTES_MAX))
    }

    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<InvitationClient>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }

    pub(crate) async fn channel(&self) -> anyhow::Result<AuthorizedChannel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
        Ok(InterceptedService::new(
            endpoint.connect().await?,
            authorize,
        ))
    }

    /// Stops the process. Fails if it does not exit with success.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.pid().context("the server stopped too early")?;
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &pid.to_string()]).status().await?;
        let status = timeout(TIMEOUT, self.child.wait()).await;
        let status = status.context("the server did not stop")??;
        ensure!(status.success(), "the server failed: {}", self.log()?);
        Ok(())
    }

    async fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
        let request = HealthCheckRequest {
            service: "invitation.v1.InvitationService".to_owned(),
        };
        let started = Instant::now();
        while started.elapsed() < TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server stopped with {status}: {}", self.log()?);
            }
            let mut health = HealthClient::new(endpoint.connect_lazy());
            if let Ok(response) = health.check(request.clone()).await
                && response.into_inner().status() == ServingStatus::Serving
            {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("the server does not serve: {}", self.log()?);
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of an interceptor")]
fn authorize(mut request: Request<()>) -> Result<Request<()>, Status> {
    let authorization = MetadataValue::from_static(AUTHORIZATION);
    request
        .metadata_mut()
        .insert("authorization", authorization);
    Ok(request)
}
