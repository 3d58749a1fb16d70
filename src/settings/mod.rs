//! A configuration that was checked: its files read, its relations asked for, everything ready to be put together.
//!
//! [`ServeArgs::load`] reports every problem at once. What a setting means stands in `config`.

pub mod arguments;
pub mod callers_file;
mod certificates;
pub mod lanes_file;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::SystemClock;
use crate::delivery::{Ambiguous, DeliveryConfig, DomainCaps, LaneConfig, Route};
use crate::domain::bounce_address::MAILBOX_LOCAL_BYTES_MAX;
use crate::domain::keyring::Keyring;
use crate::domain::link::{LinkMode, LinkTemplate};
use crate::domain::public_url::PublicUrl;
use crate::domain::quota::QuotaLimits;
use crate::grpc::GrpcConfig;
use crate::http::{HttpConfig, HttpTimeouts, PostmarkPassword, WebhookSecret};
use crate::identity::Callers;
use crate::mail::file::FileTransport;
use crate::mail::message::{Composer, Sender};
use crate::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use crate::mail::templates::Templates;
use crate::mail::transport::Transport;
use crate::service::Retention;
use crate::settings::arguments::{
    LinkStyle, MailAmbiguous, MailTransport, ProcessRole, ServeArgs, TlsMode,
};
use crate::settings::callers_file::CallersFile;
use crate::settings::certificates::Certificates;
use crate::store::StoreConfig;

/// A lease is extended four times in its life; a shorter one would be lost to a busy machine.
const LEASE_DURATION_MIN: Duration = Duration::from_secs(2);

/// Calls may be repeated for so long, and their answers are read back from the rows.
const KEEP_MIN: Duration = Duration::from_hours(24);

/// What logs call the one lane that needs no lanes file.
const LANE_NAME: &str = "smtp";

/// A configuration that was checked, with everything its files hold.
pub struct Settings {
    /// What this process does.
    pub role: ProcessRole,
    /// How to answer calls.
    pub grpc: GrpcConfig,
    /// Who may call.
    pub callers: Callers,
    /// How much may be asked for.
    pub quotas: QuotaLimits,
    /// The keys.
    pub keyring: Keyring,
    /// Where links lead.
    pub links: LinkTemplate,
    /// How to answer HTTP, if at all.
    pub http: Option<HttpConfig>,
    /// Where that is reached from outside, for the links that lead there.
    pub public_url: Option<PublicUrl>,
    /// Where the database is.
    pub database_url: SecretString,
    /// How to connect to it.
    pub store: StoreConfig,
    /// Who writes them.
    pub composer: Composer,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
    /// Where bounces are delivered to, each mail's under an address of its own.
    pub bounce_mailbox: Option<String>,
    /// How mails are delivered.
    pub delivery: DeliveryConfig,
    /// How often to sweep.
    pub sweep_interval: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// How long to answer calls while health says NOT_SERVING.
    pub drain_delay: Duration,
}

/// How to answer HTTP, and where that is reached from outside.
type Web = (Option<HttpConfig>, Option<PublicUrl>);

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

impl ServeArgs {
    /// Reads the files and checks everything.
    ///
    /// # Errors
    ///
    /// Every problem at once, each naming its setting.
    pub fn load(&self) -> Result<Settings, ConfigError> {
        let mut problems = Vec::new();
        let keyring = read(&self.keys_file, "keys-file", Keyring::parse)
            .map_err(|problem| problems.push(problem));
        let callers = self.callers().map_err(|found| problems.extend(found));
        let links = self.links().map_err(|problem| problems.push(problem));
        let certificates = self.certificates(callers.as_ref().ok());
        let certificates = certificates.map_err(|found| problems.extend(found));
        let web = self.web().map_err(|found| problems.extend(found));
        let sender = self.sender().map_err(|problem| problems.push(problem));
        let lanes = self.lanes().map_err(|found| problems.extend(found));
        let templates = self.templates().map_err(|errors| problems.extend(errors));
        problems.extend(self.zero_durations());
        problems.extend(self.short_retentions());
        if self.lease_duration < LEASE_DURATION_MIN {
            problems.push("lease-duration: a lease under 2s is lost to a busy machine".to_owned());
        }
        if self.database_connections_max < 2 {
            problems.push(
                "database-connections-max: calls and mails need two connections at least"
                    .to_owned(),
            );
        }
        let (Ok(keyring), Ok(callers), Ok(links), Ok(certificates)) =
            (keyring, callers, links, certificates)
        else {
            return Err(ConfigError(problems));
        };
        let (Ok(web), Ok(sender), Ok(lanes), Ok(templates)) = (web, sender, lanes, templates)
        else {
            return Err(ConfigError(problems));
        };
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let composer = Composer::with_templates(sender, templates);
        let grpc = self.grpc(certificates);
        Ok(self.settings(grpc, keyring, callers, links, web, composer, lanes))
    }

    fn grpc(&self, (tls, trusted_proxies): Certificates) -> GrpcConfig {
        GrpcConfig {
            listen: self.listen,
            serves_api: self.role != ProcessRole::Worker,
            reflection: self.reflection,
            caller_rate: NonZeroU32::new(self.caller_rate),
            drain_timeout: self.drain_timeout,
            tls,
            trusted_proxies,
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one for each part of a configuration"
    )]
    fn settings(
        &self,
        grpc: GrpcConfig,
        keyring: Keyring,
        callers: Callers,
        links: LinkTemplate,
        (http, public_url): Web,
        composer: Composer,
        lanes: Vec<LaneConfig>,
    ) -> Settings {
        Settings {
            role: self.role,
            grpc,
            callers,
            quotas: self.quotas(),
            keyring,
            links,
            http,
            public_url,
            database_url: self.database_url.clone(),
            store: StoreConfig {
                connections_max: self.database_connections_max,
                acquire_timeout: self.database_acquire_timeout,
                statement_timeout: self.database_statement_timeout,
                lock_timeout: self.database_lock_timeout,
            },
            composer,
            message_id_domain: self.mail_domain().to_owned(),
            bounce_mailbox: self.mail_envelope_from.clone(),
            delivery: DeliveryConfig {
                lanes,
                lease_duration: self.lease_duration,
                poll_interval: self.poll_interval,
                drain_timeout: self.drain_timeout,
                ambiguous: match self.mail_ambiguous {
                    MailAmbiguous::Retry => Ambiguous::Retry,
                    MailAmbiguous::Hold => Ambiguous::Hold,
                },
            },
            sweep_interval: self.sweep_interval,
            retention: self.retention(),
            drain_delay: self.drain_delay,
        }
    }

    /// Zero turns one off.
    fn quotas(&self) -> QuotaLimits {
        let limit = |limit: u32| (limit > 0).then_some(limit);
        QuotaLimits {
            organization_pending: limit(self.quota_organization_pending),
            organization_daily: limit(self.quota_organization_daily),
            address_daily: limit(self.quota_address_daily),
            invitation_resends: limit(self.quota_resends),
            invitation_pause: (!self.quota_resend_pause.is_zero())
                .then_some(self.quota_resend_pause),
        }
    }

    /// Durations that must not be zero: without a pause a loop would never rest, without a limit a statement never end.
    fn zero_durations(&self) -> impl Iterator<Item = String> {
        let durations = [
            ("database-acquire-timeout", self.database_acquire_timeout),
            (
                "database-statement-timeout",
                self.database_statement_timeout,
            ),
            ("database-lock-timeout", self.database_lock_timeout),
            ("smtp-reply-timeout", self.smtp_reply_timeout),
            ("smtp-pause", self.smtp_pause),
            ("poll-interval", self.poll_interval),
            ("sweep-interval", self.sweep_interval),
        ];
        durations
            .into_iter()
            .filter(|(_, duration)| duration.is_zero())
            .map(|(setting, _)| format!("{setting}: must not be zero"))
    }

    fn retention(&self) -> Retention {
        let kept = |duration: Duration| (!duration.is_zero()).then_some(duration);
        Retention {
            addresses: kept(self.keep_addresses),
            invitations: kept(self.keep_invitations),
            mails: kept(self.keep_mails),
            dead_mails: kept(self.keep_dead_mails),
            audit_events: kept(self.keep_audit_events),
            events: kept(self.keep_events),
            batches: kept(self.keep_batches),
        }
    }

    fn short_retentions(&self) -> impl Iterator<Item = String> {
        let durations = [
            ("keep-addresses", self.keep_addresses),
            ("keep-invitations", self.keep_invitations),
            ("keep-mails", self.keep_mails),
            ("keep-dead-mails", self.keep_dead_mails),
            ("keep-audit-events", self.keep_audit_events),
            ("keep-events", self.keep_events),
            ("keep-batches", self.keep_batches),
        ];
        durations
            .into_iter()
            .filter(|(_, duration)| !duration.is_zero() && *duration < KEEP_MIN)
            .map(|(setting, _)| {
                format!("{setting}: must not be under 24h, for so long calls are repeated; 0s keeps for ever")
            })
    }

    /// The callers of the callers file, with the key sets of its issuers.
    fn callers(&self) -> Result<Callers, Vec<String>> {
        let file = read(&self.callers_file, "callers-file", CallersFile::parse)
            .map_err(|problem| vec![problem])?;
        let place = |problem| format!("callers-file {}: {problem}", self.callers_file.display());
        Callers::new(file, Arc::new(SystemClock))
            .map_err(|problems| problems.into_iter().map(place).collect())
    }

    fn links(&self) -> Result<LinkTemplate, String> {
        let mode = match self.link_style {
            LinkStyle::Fragment => LinkMode::Fragment,
            LinkStyle::Redirect => LinkMode::Redirect,
        };
        LinkTemplate::new(&self.link_base_url, mode)
            .ok_or_else(|| "link-base-url: not an http(s) URL without a fragment".to_owned())
    }

    fn web(&self) -> Result<Web, Vec<String>> {
        let mut problems = Vec::new();
        let mut problem = |text: String| problems.push(text);
        let public_url = self.public_url.as_deref().and_then(|text| {
            PublicUrl::parse(text).or_else(|| {
                problem(
                    "public-url: not an https URL (http for this machine alone) without query"
                        .to_owned(),
                );
                None
            })
        });
        let resend = self.resend_webhook_secret.as_ref().and_then(|secret| {
            WebhookSecret::parse(secret.expose_secret())
                .map_err(|error| problem(format!("resend-webhook-secret: {error}")))
                .ok()
        });
        let postmark = self
            .postmark_webhook_password
            .as_ref()
            .and_then(|password| {
                PostmarkPassword::parse(password.expose_secret()).or_else(|| {
                    problem(
                        "postmark-webhook-password: not 16 visible ASCII characters or more"
                            .to_owned(),
                    );
                    None
                })
            });
        if !problems.is_empty() {
            return Err(problems);
        }
        let http = self.http_listen.map(|listen| HttpConfig {
            listen,
            serves_api: self.role != ProcessRole::Worker,
            resend,
            postmark,
            timeouts: HttpTimeouts::default(),
            drain_timeout: self.drain_timeout,
        });
        Ok((http, public_url))
    }

    /// The parts of `Name <address>`.
    fn mail_from(&self) -> Option<(&str, &str)> {
        let (name, rest) = self.mail_from.split_once('<')?;
        Some((name.trim(), rest.trim().strip_suffix('>')?))
    }

    fn mail_domain(&self) -> &str {
        self.mail_from()
            .and_then(|(_, address)| address.rsplit_once('@'))
            .map_or("localhost", |(_, domain)| domain)
    }

    fn sender(&self) -> Result<Sender, String> {
        let (name, address) = self
            .mail_from()
            .ok_or_else(|| "mail-from: not of the form `Name <address>`".to_owned())?;
        let bounce_name = self.mail_envelope_from.as_deref().unwrap_or_default();
        let (bounce_name, _) = bounce_name.rsplit_once('@').unwrap_or_default();
        if bounce_name.len() > MAILBOX_LOCAL_BYTES_MAX {
            return Err(format!(
                "mail-envelope-from: the part before the at sign must leave room for a proof, so at most {MAILBOX_LOCAL_BYTES_MAX} bytes"
            ));
        }
        Sender::parse(name, address, self.mail_envelope_from.as_deref())
            .map_err(|error| format!("mail-from, mail-envelope-from: {error}"))
    }

    /// The lanes of the lanes file, or the one that the `smtp` settings describe.
    fn lanes(&self) -> Result<Vec<LaneConfig>, Vec<String>> {
        if let Some(file) = &self.lanes_file {
            let text = read_text(file, "lanes-file").map_err(|problem| vec![problem])?;
            let place = |problem| format!("lanes-file {}: {problem}", file.display());
            return lanes_file::parse(&text, self.hello_name())
                .map_err(|problems| problems.into_iter().map(place).collect());
        }
        let is_rate = |rate: f64| rate.is_finite() && rate > 0.0;
        if !self.smtp_rate_max.is_none_or(is_rate) {
            return Err(vec!["smtp-rate-max: must be above zero".to_owned()]);
        }
        if self.smtp_domain_in_flight_max == Some(0) {
            return Err(vec![
                "smtp-domain-in-flight-max: must not be zero".to_owned(),
            ]);
        }
        let transport = self.transport().map_err(|problem| vec![problem])?;
        Ok(vec![LaneConfig {
            name: LANE_NAME.to_owned(),
            weight: 1,
            route: Route::Each {
                transport,
                connections: usize::from(self.smtp_connections),
            },
            rate_max: self.smtp_rate_max,
            domain_caps: DomainCaps {
                in_flight_max: self.smtp_domain_in_flight_max,
                rate_max: None,
            },
            pause: self.smtp_pause,
        }])
    }

    fn hello_name(&self) -> &str {
        self.smtp_hello_name
            .as_deref()
            .unwrap_or_else(|| self.mail_domain())
    }

    fn templates(&self) -> Result<Templates, Vec<String>> {
        let Some(folder) = &self.templates_folder else {
            return Templates::embedded().map_err(|errors| vec![errors.to_string()]);
        };
        Templates::with_folder(folder).map_err(|errors| {
            let in_folder = |error| format!("templates-folder {}: {error}", folder.display());
            errors.0.iter().map(in_folder).collect()
        })
    }

    fn transport(&self) -> Result<Transport, String> {
        match self.mail_transport {
            MailTransport::File => self
                .mail_folder
                .as_ref()
                .map(|folder| Transport::File(FileTransport::new(folder)))
                .ok_or_else(|| "mail-folder: the file transport needs one".to_owned()),
            MailTransport::Smtp => {
                let extra_roots_pem = self
                    .smtp_roots_file
                    .as_ref()
                    .map(|file| read_text(file, "smtp-roots-file"));
                let config = SmtpConfig {
                    host: self.smtp_host.clone(),
                    port: self.smtp_port,
                    tls: match self.smtp_tls {
                        TlsMode::Implicit => SmtpTls::Implicit,
                        TlsMode::Starttls => SmtpTls::StartTls,
                        TlsMode::None => SmtpTls::None,
                    },
                    extra_roots_pem: extra_roots_pem.transpose()?,
                    credentials: self.smtp_username.clone().zip(self.smtp_password.clone()),
                    hello_name: self.hello_name().to_owned(),
                    pipelining: true,
                    timeouts: SmtpTimeouts {
                        body: self.smtp_reply_timeout,
                        ..SmtpTimeouts::default()
                    },
                    limits: SmtpLimits::default(),
                };
                SmtpTransport::new(config)
                    .map(Transport::Smtp)
                    .map_err(|error| format!("smtp-*: {error}"))
            }
        }
    }
}

impl Settings {
    /// The database's URL, for the one place that connects.
    #[must_use]
    pub fn database_url(&self) -> &str {
        self.database_url.expose_secret()
    }
}

fn read<T, E: std::fmt::Display>(
    file: &Path,
    setting: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    let text = read_text(file, setting)?;
    parse(&text).map_err(|error| format!("{setting} {}: {error}", file.display()))
}

fn read_text(file: &Path, setting: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{setting} {}: {error}", file.display()))
}
