//! A place where the real binary runs: its files, its database, its relay, and processes that can be killed.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use invitations::domain::scope::Scope;
use invitations::identity::{CallerCredential, CallerEntry};
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::settings::callers_file::to_toml;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::database::Database;
use crate::support::harness::{Invitations, KEYS, bearer, populate};
use crate::support::programs::SERVER;
use crate::support::relay::{Encryption, Relay};

/// How long anything may take before the test gives up on it: far more than it needs, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// The token of the caller.
pub(crate) const TOKEN: &str = "canary-access-token";

/// Files, a database and a relay.
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) database: Database,
    pub(crate) relay: Relay,
}

/// A process of the binary; it is killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    output: PathBuf,
}

impl Site {
    pub(crate) async fn new(database: Database) -> Self {
        let site = Self {
            folder: TempDir::new().unwrap(),
            database,
            relay: Relay::start(Encryption::None).await,
        };
        let caller = CallerEntry {
            name: "all".to_owned(),
            credential: CallerCredential::TokenSha256(Sha256::digest(TOKEN).into()),
            scopes: Scope::ALL.to_vec(),
            organizations: None,
        };
        site.write("callers", &to_toml(&caller));
        site.write("keys", KEYS);
        site
    }

    /// Writes one of its files.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Where one of its files is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts `invitations COMMAND` with these settings beside what every one needs.
    pub(crate) fn start(&self, command: &str, settings: &[(&str, &str)]) -> Running {
        let folder = self.folder.path();
        let number = fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("log{number}"));
        let output = folder.join(format!("output{number}"));
        let mut process = Command::new(SERVER);
        process
            .arg(command)
            .env_clear()
            .env("INVITATIONS_DATABASE_URL", self.database.url())
            .env("INVITATIONS_LISTEN", "127.0.0.1:0")
            .env("INVITATIONS_CALLERS_FILE", folder.join("callers"))
            .env("INVITATIONS_KEYS_FILE", folder.join("keys"))
            .env("INVITATIONS_LINK_BASE_URL", "https://app.example.com/join")
            .env(
                "INVITATIONS_MAIL_FROM",
                "Invitations <invitations@example.com>",
            )
            .env("INVITATIONS_SMTP_HOST", "127.0.0.1")
            .env("INVITATIONS_SMTP_PORT", self.relay.port().to_string())
            .env("INVITATIONS_SMTP_TLS", "none")
            .env("INVITATIONS_SMTP_PAUSE", "1s")
            .env("INVITATIONS_LEASE_DURATION", "2s")
            .env("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "20s")
            .env("INVITATIONS_DRAIN_DELAY", "0s")
            // A test that is about quotas says so; the others invite as many as the machine can.
            .env("INVITATIONS_QUOTA_ORGANIZATION_PENDING", "0")
            .env("INVITATIONS_QUOTA_ORGANIZATION_DAILY", "0")
            .env("INVITATIONS_QUOTA_ADDRESS_DAILY", "0")
            .env("INVITATIONS_CALLER_RATE", "0")
            .env("INVITATIONS_DRAIN_TIMEOUT", "2s")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true);
        let child = process.spawn().unwrap();
        Running { child, log, output }
    }

    /// Serves, with the directory as every test has it.
    pub(crate) async fn serve(&self, settings: &[(&str, &str)]) -> (Running, Channel) {
        let running = self.start("serve", settings);
        let channel = running.channel().await;
        until("SERVING", async || is_serving(&channel).await).await;
        (running, channel)
    }

    /// Serves, and tells of the organizations, users and members of most tests.
    pub(crate) async fn serve_populated(&self, settings: &[(&str, &str)]) -> (Running, Channel) {
        let (running, channel) = self.serve(settings).await;
        populate(&DirectoryServiceClient::with_interceptor(
            channel.clone(),
            bearer(TOKEN),
        ))
        .await;
        (running, channel)
    }

    /// Runs `invitations serve` that is expected to refuse; returns what it says.
    pub(crate) async fn refusal(&self) -> String {
        let mut running = self.start("serve", &[]);
        let status = running.ended().await;
        assert_eq!(status.code(), Some(1), "{}", running.log());
        running.log()
    }
}

impl Running {
    /// A way to it, as soon as it listens.
    pub(crate) async fn channel(&self) -> Channel {
        until("the address", async || self.logged_address().is_some()).await;
        Endpoint::from_shared(format!("http://{}", self.address()))
            .unwrap()
            .connect_lazy()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.logged_address().unwrap()
    }

    fn logged_address(&self) -> Option<String> {
        let log = self.log();
        // As text and as JSON.
        let (_, rest) = log
            .split_once("server.address=")
            .or_else(|| log.split_once("\"server.address\":\""))?;
        let (address, _) = rest.split_once([' ', '"'])?;
        Some(address.to_owned())
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Everything it has printed otherwise.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Ends it as a crash would (SIGKILL).
    pub(crate) async fn crash(mut self) {
        self.child.kill().await.unwrap();
    }

    /// How much memory it holds, in KiB.
    pub(crate) fn memory_kib(&self) -> i64 {
        let status = self.status();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let amount = line.unwrap().split_whitespace().nth(1);
        amount.unwrap().parse().unwrap()
    }

    /// What the kernel tells of it (proc(5), `status`).
    pub(crate) fn status(&self) -> String {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        fs::read_to_string(status).unwrap()
    }

    /// Asks it to end (SIGTERM).
    pub(crate) async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Has it stand still (SIGSTOP), as on a machine that is paused.
    pub(crate) async fn stall(&self) {
        self.signal("-STOP").await;
    }

    /// Has it go on (SIGCONT).
    pub(crate) async fn go_on(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let killed = Command::new("kill").args([signal, &pid]).status().await;
        assert!(killed.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the process was expected to end").unwrap()
    }
}

/// A client of the one caller.
pub(crate) fn client(channel: &Channel) -> Invitations {
    InvitationServiceClient::with_interceptor(channel.clone(), bearer(TOKEN))
}

/// Whether health says so.
pub(crate) async fn is_serving(channel: &Channel) -> bool {
    let service = "invitation.v1.InvitationService".to_owned();
    let request = HealthCheckRequest { service };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
