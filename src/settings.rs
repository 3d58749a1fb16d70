//! A configuration that was checked: its files read, its relations asked for, everything ready to be put together.
//!
//! [`Config::load`] reports every problem at once. What a setting means stands in `config`.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::callers_file::CallersFile;
use crate::config::{Config, LinkStyle, MailTransport, Role, TlsMode};
use crate::delivery::DeliveryConfig;
use crate::domain::keyring::Keyring;
use crate::domain::link::{LinkMode, LinkTemplate};
use crate::grpc::{Callers, GrpcConfig};
use crate::mail::file::FileTransport;
use crate::mail::message::{Composer, Sender};
use crate::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use crate::mail::templates::Templates;
use crate::mail::transport::Transport;
use crate::store::StoreConfig;

/// A lease is extended four times in its life; a shorter one would be lost to a busy machine.
const LEASE_DURATION_MIN: Duration = Duration::from_secs(2);

/// A configuration that was checked, with everything its files hold.
pub struct Settings {
    /// What this process does.
    pub role: Role,
    /// How to answer calls.
    pub grpc: GrpcConfig,
    /// Who may call.
    pub callers: Callers,
    /// The keys.
    pub keyring: Keyring,
    /// Where links lead.
    pub links: LinkTemplate,
    /// Where the database is.
    pub database_url: SecretString,
    /// How to connect to it.
    pub store: StoreConfig,
    /// How mails leave.
    pub transport: Transport,
    /// Who writes them.
    pub composer: Composer,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
    /// How mails are delivered.
    pub delivery: DeliveryConfig,
    /// How often to sweep.
    pub sweep_interval: Duration,
    /// How long to answer calls while health says NOT_SERVING.
    pub drain_delay: Duration,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Reads the files and checks everything.
    ///
    /// # Errors
    ///
    /// Every problem at once, each naming its setting.
    pub fn load(&self) -> Result<Settings, ConfigError> {
        let mut problems = Vec::new();
        let keyring = read(&self.keys_file, "keys-file", Keyring::parse)
            .map_err(|problem| problems.push(problem));
        let callers = read(&self.callers_file, "callers-file", CallersFile::parse)
            .map_err(|problem| problems.push(problem));
        let links = self.links().map_err(|problem| problems.push(problem));
        let sender = self.sender().map_err(|problem| problems.push(problem));
        let transport = self.transport().map_err(|problem| problems.push(problem));
        let templates = self.templates().map_err(|errors| problems.extend(errors));
        problems.extend(self.zero_durations());
        if self.lease_duration < LEASE_DURATION_MIN {
            problems.push("lease-duration: a lease under 2s is lost to a busy machine".to_owned());
        }
        if self.database_connections_max < 2 {
            problems.push(
                "database-connections-max: calls and mails need two connections at least"
                    .to_owned(),
            );
        }
        match (keyring, callers, links, sender, transport, templates) {
            (Ok(keyring), Ok(callers), Ok(links), Ok(sender), Ok(transport), Ok(templates))
                if problems.is_empty() =>
            {
                let composer = Composer::with_templates(sender, templates);
                Ok(self.settings(keyring, Callers::new(callers), links, composer, transport))
            }
            _ => Err(ConfigError(problems)),
        }
    }

    fn settings(
        &self,
        keyring: Keyring,
        callers: Callers,
        links: LinkTemplate,
        composer: Composer,
        transport: Transport,
    ) -> Settings {
        Settings {
            role: self.role,
            grpc: GrpcConfig {
                listen: self.listen,
                serves_api: self.role != Role::Worker,
                reflection: self.reflection,
                drain_timeout: self.drain_timeout,
            },
            callers,
            keyring,
            links,
            database_url: self.database_url.clone(),
            store: StoreConfig {
                connections_max: self.database_connections_max,
                acquire_timeout: self.database_acquire_timeout,
                statement_timeout: self.database_statement_timeout,
                lock_timeout: self.database_lock_timeout,
            },
            transport,
            composer,
            message_id_domain: self.mail_domain().to_owned(),
            delivery: DeliveryConfig {
                connections: usize::from(self.smtp_connections),
                lease_duration: self.lease_duration,
                poll_interval: self.poll_interval,
                drain_timeout: self.drain_timeout,
                lane_pause: self.smtp_pause,
            },
            sweep_interval: self.sweep_interval,
            drain_delay: self.drain_delay,
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

    fn links(&self) -> Result<LinkTemplate, String> {
        let mode = match self.link_style {
            LinkStyle::Fragment => LinkMode::Fragment,
            LinkStyle::Redirect => LinkMode::Redirect,
        };
        LinkTemplate::new(&self.link_base_url, mode)
            .ok_or_else(|| "link-base-url: not an http(s) URL without a fragment".to_owned())
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
        Sender::parse(name, address, self.mail_envelope_from.as_deref())
            .map_err(|error| format!("mail-from, mail-envelope-from: {error}"))
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
                    hello_name: self
                        .smtp_hello_name
                        .clone()
                        .unwrap_or_else(|| self.mail_domain().to_owned()),
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
