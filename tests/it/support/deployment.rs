//! A deployment of the real server program: its files, its database, its relay, and the processes that a test starts.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use invitations::domain::scope::Scope;
use invitations::identity::CallerEntry;
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::settings::callers_file::to_toml;
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::callers::{
    DirectoryClient, InvitationClient, caller_channel, token_credential,
};
use crate::support::database::Database;
use crate::support::fixtures::{KEYS, populate};
use crate::support::programs::SERVER;
use crate::support::relay::{Encryption, Relay};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;

/// The token of the only caller, which has every scope.
pub(crate) const TOKEN: &str = "canary-access-token";

pub(crate) struct Deployment {
    folder: TempDir,
    pub(crate) database: Database,
    pub(crate) relay: Relay,
}

impl Deployment {
    /// A deployment with a migrated database. No process runs yet.
    pub(crate) async fn create() -> Self {
        Self::with_database(Database::create().await).await
    }

    pub(crate) async fn with_database(database: Database) -> Self {
        let deployment = Self {
            folder: TempDir::new().unwrap(),
            database,
            relay: Relay::start(Encryption::None).await,
        };
        let caller = CallerEntry {
            name: "all".to_owned(),
            credential: token_credential(TOKEN),
            scopes: Scope::ALL.to_vec(),
            organizations: None,
        };
        deployment.write("callers", &to_toml(&caller));
        deployment.write("keys", KEYS);
        deployment
    }

    /// Writes a file into the folder of the deployment.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The path of a file in the folder of the deployment.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts `invitations COMMAND`. These settings override the usual ones.
    pub(crate) fn start(&self, command: &str, settings: &[(&str, &str)]) -> ServerProcess {
        let folder = self.folder.path();
        let number = fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("log{number}"));
        let output = folder.join(format!("output{number}"));
        let mut process = Command::new(SERVER);
        process
            .arg(command)
            .env_clear()
            .env("INVITATIONS_DATABASE_URL", self.database.url())
            .env("INVITATIONS_CALLERS_FILE", folder.join("callers"))
            .env("INVITATIONS_KEYS_FILE", folder.join("keys"))
            .env("INVITATIONS_SMTP_PORT", self.relay.port().to_string())
            .envs(USUAL_SETTINGS)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true);
        ServerProcess::new(process.spawn().unwrap(), log, output)
    }

    /// Starts `invitations serve` and waits until it serves.
    pub(crate) async fn serve(&self, settings: &[(&str, &str)]) -> (ServerProcess, Channel) {
        let process = self.start("serve", settings);
        let channel = serving_channel(&process).await;
        (process, channel)
    }

    /// The same, and upserts the organizations and users of most tests.
    pub(crate) async fn serve_populated(
        &self,
        settings: &[(&str, &str)],
    ) -> (ServerProcess, Channel) {
        let (process, channel) = self.serve(settings).await;
        populate(&directory_client(&channel)).await;
        (process, channel)
    }

    /// Starts `invitations serve`, expects it to fail, and returns its log.
    pub(crate) async fn failed_start(&self) -> String {
        let mut process = self.start("serve", &[]);
        let status = process.wait_for_exit().await;
        assert_eq!(status.code(), Some(1), "{}", process.log());
        process.log()
    }
}

const USUAL_SETTINGS: [(&str, &str); 14] = [
    ("INVITATIONS_LISTEN", "127.0.0.1:0"),
    ("INVITATIONS_LINK_BASE_URL", "https://app.example.com/join"),
    (
        "INVITATIONS_MAIL_FROM",
        "Invitations <invitations@example.com>",
    ),
    ("INVITATIONS_SMTP_HOST", "127.0.0.1"),
    ("INVITATIONS_SMTP_TLS", "none"),
    ("INVITATIONS_SMTP_PAUSE", "1s"),
    ("INVITATIONS_LEASE_DURATION", "2s"),
    ("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "20s"),
    ("INVITATIONS_DRAIN_DELAY", "0s"),
    ("INVITATIONS_DRAIN_TIMEOUT", "2s"),
    // No quotas, except in the tests of quotas.
    ("INVITATIONS_QUOTA_ORGANIZATION_PENDING", "0"),
    ("INVITATIONS_QUOTA_ORGANIZATION_DAILY", "0"),
    ("INVITATIONS_QUOTA_ADDRESS_DAILY", "0"),
    ("INVITATIONS_CALLER_RATE", "0"),
];

/// An invitation client of the only caller.
pub(crate) fn client(channel: &Channel) -> InvitationClient {
    InvitationServiceClient::new(caller_channel(channel, TOKEN))
}

/// A directory client of the only caller.
pub(crate) fn directory_client(channel: &Channel) -> DirectoryClient {
    DirectoryServiceClient::new(caller_channel(channel, TOKEN))
}

/// A channel to a process, as soon as it serves.
pub(crate) async fn serving_channel(process: &ServerProcess) -> Channel {
    let channel = process.channel().await;
    wait_until("SERVING", async || is_serving(&channel).await).await;
    channel
}

/// Whether the health service reports `SERVING`.
pub(crate) async fn is_serving(channel: &Channel) -> bool {
    let service = "invitation.v1.InvitationService".to_owned();
    let request = HealthCheckRequest { service };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}
