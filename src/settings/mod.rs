//! The settings of the server: arguments and environment variables, checked and converted.
//!
//! Each section of `serve --help` has a file with its arguments, whose doc comments are the manual, and their
//! conversion. [`ServeArgs::load`] reads the files that the arguments name and reports all problems together. Only clap
//! reads the environment, for these arguments and for two of `invitations mail`.

mod byte_size;
pub mod callers_file;
mod calls;
mod certificates;
mod database;
mod files;
mod http;
pub mod lanes_file;
mod mail;
mod problems;
mod process;
mod queue;
mod quotas;
mod retention;
mod smtp;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use self::calls::CallArgs;
use self::certificates::CertificateArgs;
use self::database::DatabaseArgs;
use self::http::HttpArgs;
use self::mail::MailArgs;
use self::problems::Problems;
use self::process::ProcessArgs;
use self::queue::QueueArgs;
use self::quotas::QuotaArgs;
use self::retention::RetentionArgs;
use self::smtp::SmtpArgs;
use crate::capacity::Capacity;
use crate::database_clock::DatabaseClock;
use crate::delivery::DeliveryConfig;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::public_url::PublicUrl;
use crate::domain::quota::QuotaLimits;
use crate::grpc::GrpcConfig;
use crate::grpc::limits::MEMORY_BUDGET_MIN;
use crate::http::HttpConfig;
use crate::identity::Callers;
use crate::mail::message::Composer;
use crate::service::Retention;
use crate::store::StoreConfig;

pub use self::calls::ProcessRole;
pub use self::process::LogFormat;

/// A lease is extended four times before it ends. A busy machine would miss a shorter one.
const LEASE_DURATION_MIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// URL of the database (postgres://...), which may name several servers (see docs/failover.md)
    #[arg(long, env = "INVITATIONS_DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
}

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten, next_help_heading = "Calls")]
    calls: CallArgs,
    #[command(flatten, next_help_heading = "Quotas and rates")]
    quotas: QuotaArgs,
    #[command(flatten, next_help_heading = "Certificates")]
    certificates: CertificateArgs,
    #[command(flatten, next_help_heading = "HTTP")]
    http: HttpArgs,
    #[command(flatten, next_help_heading = "Database")]
    database: DatabaseArgs,
    #[command(flatten, next_help_heading = "Mail")]
    mail: MailArgs,
    #[command(flatten, next_help_heading = "Mail")]
    smtp: SmtpArgs,
    #[command(flatten, next_help_heading = "Mail")]
    queue: QueueArgs,
    #[command(flatten, next_help_heading = "Retention")]
    retention: RetentionArgs,
    #[command(flatten, next_help_heading = "Shutdown and logging")]
    pub process: ProcessArgs,
}

pub struct Settings {
    pub role: ProcessRole,
    pub grpc: GrpcConfig,
    pub callers: Callers,
    pub quotas: QuotaLimits,
    pub keyring: Keyring,
    pub links: LinkTemplate,
    pub http: Option<HttpConfig>,
    pub public_url: Option<PublicUrl>,
    pub database_url: SecretString,
    pub store: StoreConfig,
    /// The clock of the whole process, which the store sets.
    pub clock: Arc<DatabaseClock>,
    pub composer: Composer,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
    /// The mailbox for bounces, in which each email has its own address.
    pub bounce_mailbox: Option<String>,
    pub delivery: DeliveryConfig,
    pub sweep_interval: Duration,
    pub retention: Retention,
    /// How long calls are answered while health reports NOT_SERVING.
    pub drain_delay: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
pub struct SettingsError(pub Vec<String>);

impl ServeArgs {
    /// Reads the files and checks all settings. The error has all problems, each with the name of its setting.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        let role = self.calls.role;
        let mut problems = Problems::default();
        let keyring = problems.check(self.calls.keyring());
        let clock = self.database.clock();
        let callers = problems.check_all(self.calls.callers(Arc::<DatabaseClock>::clone(&clock)));
        let links = problems.check(self.calls.links());
        let certificates = problems.check_all(self.certificates.load(role, callers.as_ref()));
        let memory = Capacity::new(self.calls.memory_budget);
        let http = self.http.load(role, self.process.drain_timeout, &memory);
        let http = problems.check_all(http);
        let sender = problems.check(self.mail.sender());
        let lanes = problems.check_all(self.mail.lanes(&self.smtp));
        let templates = problems.check_all(self.mail.templates());
        self.check_limits(&mut problems);
        let settings = || {
            let (tls, trusted_proxies) = certificates?;
            let (http, public_url) = http?;
            Some(Settings {
                role,
                grpc: GrpcConfig {
                    listen: self.calls.listen,
                    serves_api: role != ProcessRole::Worker,
                    reflection: self.calls.reflection,
                    memory,
                    caller_rate: self.quotas.caller_rate(),
                    drain_timeout: self.process.drain_timeout,
                    tls,
                    trusted_proxies,
                },
                callers: callers?,
                quotas: self.quotas.limits(),
                keyring: keyring?,
                links: links?,
                http,
                public_url,
                database_url: self.database.database_url.clone(),
                store: self.database.store(),
                clock,
                composer: Composer::with_templates(sender?, templates?),
                message_id_domain: self.mail.domain().to_owned(),
                bounce_mailbox: self.mail.mail_envelope_from.clone(),
                delivery: self.queue.delivery(lanes?, self.process.drain_timeout),
                sweep_interval: self.queue.sweep_interval,
                retention: self.retention.retention(),
                drain_delay: self.process.drain_delay,
            })
        };
        problems.into_result(settings()).map_err(SettingsError)
    }

    fn check_limits(&self, problems: &mut Problems) {
        // Without a pause a loop would never rest, and without a timeout a statement might never end.
        let database = &self.database;
        for (setting, duration) in [
            (
                "database-acquire-timeout",
                database.database_acquire_timeout,
            ),
            (
                "database-statement-timeout",
                database.database_statement_timeout,
            ),
            ("database-lock-timeout", database.database_lock_timeout),
            (
                "database-clock-difference-max",
                database.database_clock_difference_max,
            ),
            ("smtp-reply-timeout", self.smtp.smtp_reply_timeout),
            ("smtp-pause", self.smtp.smtp_pause),
            ("poll-interval", self.queue.poll_interval),
            ("sweep-interval", self.queue.sweep_interval),
        ] {
            if duration.is_zero() {
                problems.add(format!("{setting}: must not be zero"));
            }
        }
        problems.extend(self.retention.problems());
        if self.calls.memory_budget < MEMORY_BUDGET_MIN {
            problems.add("memory-budget: must be at least 64MiB, or large batches have no room");
        }
        if self.queue.lease_duration < LEASE_DURATION_MIN {
            problems.add("lease-duration: must be at least 2s, or a busy machine loses its leases");
        }
        if database.database_connections_max < 2 {
            problems.add(
                "database-connections-max: must be at least 2, one for calls and one for emails",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        serve: ServeArgs,
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let arguments = [
            "serve",
            "--callers-file",
            "/nowhere/callers",
            "--keys-file",
            "/nowhere/keys",
            "--link-base-url",
            "x",
            "--tls-key-file",
            "/nowhere/key",
            "--tls-client-auth",
            "optional",
            "--trusted-proxies",
            "10.0.0.0/8,proxy",
            "--database-url",
            "postgres://localhost/",
            "--mail-from",
            "nobody",
            "--mail-transport",
            "file",
            "--templates-folder",
            "/nowhere/templates",
            "--lease-duration",
            "1s",
            "--database-connections-max",
            "1",
            "--memory-budget",
            "63MiB",
            "--public-url",
            "http://app.example.com",
            "--resend-webhook-secret",
            "whsec_short",
            "--postmark-webhook-password",
            "short",
            "--keep-addresses",
            "1h",
        ];
        let arguments = Arguments::try_parse_from(arguments)
            .map_err(|error| error.to_string())
            .unwrap();
        let problems = arguments.serve.load().map(|_| ()).unwrap_err().0;
        let settings: Vec<_> = problems
            .iter()
            .map(|problem| problem.split([':', ' ', ',']).next().unwrap())
            .collect();
        let expected = [
            "keys-file",
            "callers-file",
            "link-base-url",
            "tls-certificate-file",
            "tls-client-roots-file",
            "trusted-proxies",
            "public-url",
            "resend-webhook-secret",
            "postmark-webhook-password",
            "mail-from",
            "mail-folder",
            "templates-folder",
            "keep-addresses",
            "memory-budget",
            "lease-duration",
            "database-connections-max",
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn debug_prints_no_secret() {
        let arguments = [
            "serve",
            "--callers-file",
            "c",
            "--keys-file",
            "k",
            "--link-base-url",
            "https://example.com",
            "--database-url",
            "postgres://user:canary@localhost/",
            "--mail-from",
            "A <a@b.co>",
            "--smtp-username",
            "u",
            "--smtp-password",
            "canary",
            "--resend-webhook-secret",
            "canary",
            "--postmark-webhook-password",
            "canary",
        ];
        let arguments = Arguments::try_parse_from(arguments)
            .map_err(|error| error.to_string())
            .unwrap();
        assert!(!format!("{:?}", arguments.serve).contains("canary"));
    }
}
