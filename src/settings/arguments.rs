//! The configuration: one struct whose doc comments are the manual. Nobody else reads the environment.
//!
//! What it names is read and checked by [`settings`](crate::settings).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use crate::domain::quota;
use crate::grpc::limits::CALLER_RATE_DEFAULT;

// The headings of `serve --help`.
const CALLS: &str = "Calls";
const QUOTAS: &str = "Quotas and rates";
const TLS: &str = "Certificates";
const HTTP: &str = "Unsubscribing and reports of mail providers";
const DATABASE: &str = "Database";
const MAIL: &str = "Mail";
const KEEPING: &str = "Keeping and forgetting";
const STOPPING: &str = "Stopping and logging";

/// Long enough to answer who was invited last month, and to resend what has expired.
const KEEP_ADDRESSES: &str = "30d";
/// A year of figures, and a month to look at them.
const KEEP_INVITATIONS: &str = "13months";
/// Long enough to see what became of a mail that somebody asks about.
const KEEP_MAILS: &str = "7d";
/// Long enough to mend what was wrong and queue them again.
const KEEP_DEAD_MAILS: &str = "30d";
/// A year and a month, so that one year can be compared with the last.
const KEEP_AUDIT_EVENTS: &str = "13months";
/// Long enough for whoever watches to come back after a long weekend.
const KEEP_EVENTS: &str = "7d";
/// A little longer than what a batch made is kept.
const KEEP_BATCHES: &str = "400d";

/// What one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProcessRole {
    /// Answer calls and deliver mails.
    All,
    /// Answer calls alone.
    Api,
    /// Deliver mails alone, and answer health checks.
    Worker,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one JSON object a line.
    Json,
}

/// How mails leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MailTransport {
    /// To a relay.
    Smtp,
    /// Into a folder, one .eml file each. For development.
    File,
}

/// What to do with a mail that may or may not have been accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MailAmbiguous {
    /// Send the same mail again: it may arrive twice, and is never lost.
    Retry,
    /// Give it up until somebody requeues it: it never arrives twice.
    Hold,
}

/// How the conversation with the relay is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// From the first byte, usually on port 465.
    Implicit,
    /// By STARTTLS, which the relay must offer, usually on port 587.
    Starttls,
    /// Not at all: for a relay on the same host alone.
    None,
}

/// Whether clients are asked for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsClientAuth {
    /// They are not.
    Off,
    /// They are, and may come without one; a bad one is refused.
    Optional,
    /// They are, and are turned away without a good one.
    Required,
}

/// What the mailed link looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LinkStyle {
    /// The base with the token in its fragment, which reaches no log.
    Fragment,
    /// The invitation's `redirect_url` with `invitation_token` in its query, where it has one.
    Redirect,
}

/// The settings of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// Where the database is: a postgres:// URL
    #[arg(long, env = "INVITATIONS_DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
}

/// The settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// What this process does
    #[arg(help_heading = CALLS, long, env = "INVITATIONS_ROLE", value_enum, default_value = "all")]
    pub role: ProcessRole,
    /// Where to answer calls
    #[arg(help_heading = CALLS, long, env = "INVITATIONS_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Whether callers may ask for the protocol (gRPC reflection), as grpcurl does
    #[arg(help_heading = CALLS, long, env = "INVITATIONS_REFLECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub reflection: bool,
    /// File of callers: names, token hashes, scopes, and issuers of JWTs (see docs/callers.md)
    #[arg(help_heading = CALLS, long, env = "INVITATIONS_CALLERS_FILE")]
    pub callers_file: PathBuf,
    /// File of master keys: the first signs, all verify (see `invitations key new`)
    #[arg(help_heading = CALLS, long, env = "INVITATIONS_KEYS_FILE")]
    pub keys_file: PathBuf,
    /// Where mailed links lead: a page of your application
    #[arg(help_heading = CALLS, long, env = "INVITATIONS_LINK_BASE_URL")]
    pub link_base_url: String,
    /// What mailed links look like
    #[arg(help_heading = CALLS,
        long,
        env = "INVITATIONS_LINK_STYLE",
        value_enum,
        default_value = "fragment"
    )]
    pub link_style: LinkStyle,

    /// Most pending invitations of an organization; 0 for no limit
    #[arg(help_heading = QUOTAS, long, env = "INVITATIONS_QUOTA_ORGANIZATION_PENDING", default_value_t = quota::ORGANIZATION_PENDING_DEFAULT)]
    pub quota_organization_pending: u32,
    /// Most invitations that an organization makes or mails again in a day of UTC; 0 for no limit
    #[arg(help_heading = QUOTAS, long, env = "INVITATIONS_QUOTA_ORGANIZATION_DAILY", default_value_t = quota::ORGANIZATION_DAILY_DEFAULT)]
    pub quota_organization_daily: u32,
    /// Most mails to one address in a day of UTC, over all organizations, reminders left out; 0 for no limit
    #[arg(help_heading = QUOTAS, long, env = "INVITATIONS_QUOTA_ADDRESS_DAILY", default_value_t = quota::ADDRESS_DAILY_DEFAULT)]
    pub quota_address_daily: u32,
    /// How often one invitation may be mailed again within 24 hours; 0 for no limit
    #[arg(help_heading = QUOTAS, long, env = "INVITATIONS_QUOTA_RESENDS", default_value_t = quota::INVITATION_RESENDS_DEFAULT)]
    pub quota_resends: u32,
    /// How long after its latest mail one invitation may be mailed again; 0s for at once
    #[arg(help_heading = QUOTAS, long, env = "INVITATIONS_QUOTA_RESEND_PAUSE", default_value = "60s", value_parser = humantime::parse_duration)]
    pub quota_resend_pause: Duration,
    /// Recipients a second that one caller may invite or mail again, in each process, 20,000 at once after a rest; 0 for
    /// no limit
    #[arg(help_heading = QUOTAS, long, env = "INVITATIONS_CALLER_RATE", default_value_t = CALLER_RATE_DEFAULT, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub caller_rate: u32,
    /// File of the certificate to show to callers (PEM), with those between it and its root; without it, calls are
    /// answered in cleartext
    #[arg(help_heading = TLS, long, env = "INVITATIONS_TLS_CERTIFICATE_FILE")]
    pub tls_certificate_file: Option<PathBuf>,
    /// File of its private key (PEM)
    #[arg(help_heading = TLS, long, env = "INVITATIONS_TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// File of the roots that vouch for the certificates of callers (PEM)
    #[arg(help_heading = TLS, long, env = "INVITATIONS_TLS_CLIENT_ROOTS_FILE")]
    pub tls_client_roots_file: Option<PathBuf>,
    /// Whether callers are asked for certificates; `required` if there are roots for them, otherwise `off`
    #[arg(help_heading = TLS, long, env = "INVITATIONS_TLS_CLIENT_AUTH", value_enum)]
    pub tls_client_auth: Option<TlsClientAuth>,
    /// Proxies that are believed when they tell of callers' certificates by `x-forwarded-client-cert`: IP networks, or
    /// what their own certificates name, separated by commas
    #[arg(help_heading = TLS, long, env = "INVITATIONS_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,

    /// Where to answer HTTP: unsubscribe links, reports of mail providers, /healthz and /readyz
    #[arg(help_heading = HTTP, long, env = "INVITATIONS_HTTP_LISTEN")]
    pub http_listen: Option<SocketAddr>,
    /// Where that is reached from outside, with https; mails carry an unsubscribe link if it is set
    #[arg(help_heading = HTTP, long, env = "INVITATIONS_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Secret of the webhook at Resend, `whsec_...`; it posts to /webhooks/resend
    #[arg(help_heading = HTTP, long, env = "INVITATIONS_RESEND_WEBHOOK_SECRET", hide_env_values = true)]
    pub resend_webhook_secret: Option<SecretString>,
    /// Password of the webhook at Postmark, whose user is `postmark`; it posts to /webhooks/postmark
    #[arg(help_heading = HTTP, long, env = "INVITATIONS_POSTMARK_WEBHOOK_PASSWORD", hide_env_values = true)]
    pub postmark_webhook_password: Option<SecretString>,

    /// Where the database is: a postgres:// URL
    #[arg(help_heading = DATABASE, long, env = "INVITATIONS_DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// Most connections to the database
    #[arg(help_heading = DATABASE,
        long,
        env = "INVITATIONS_DATABASE_CONNECTIONS_MAX",
        default_value_t = 16
    )]
    pub database_connections_max: u32,
    /// How long a call waits for one of them before it answers UNAVAILABLE
    #[arg(help_heading = DATABASE, long, env = "INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub database_acquire_timeout: Duration,
    /// How long one statement may run; a batch of 10,000 takes about half a second
    #[arg(help_heading = DATABASE, long, env = "INVITATIONS_DATABASE_STATEMENT_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
    pub database_statement_timeout: Duration,
    /// How long one statement waits for a row that another call holds
    #[arg(help_heading = DATABASE, long, env = "INVITATIONS_DATABASE_LOCK_TIMEOUT", default_value = "2s", value_parser = humantime::parse_duration)]
    pub database_lock_timeout: Duration,

    /// File of lanes, for more than one relay or a provider's HTTP API (see docs/delivery.md); takes the place of
    /// `mail-transport` and the `smtp` settings
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_LANES_FILE")]
    pub lanes_file: Option<PathBuf>,
    /// How mails leave
    #[arg(help_heading = MAIL,
        long,
        env = "INVITATIONS_MAIL_TRANSPORT",
        value_enum,
        default_value = "smtp"
    )]
    pub mail_transport: MailTransport,
    /// Who mails come from: your product, as `Name <address>`
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_MAIL_FROM")]
    pub mail_from: String,
    /// Where bounces go, each mail's under an address of its own (`NAME+PROOF@…`; NAME of at most 13 bytes), for
    /// `invitations bounce`; to the address of `mail-from` if not set
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_MAIL_ENVELOPE_FROM")]
    pub mail_envelope_from: Option<String>,
    /// Folder of templates that replace the built-in ones or add languages (see docs/mails.md)
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_TEMPLATES_FOLDER")]
    pub templates_folder: Option<PathBuf>,
    /// Folder of the file transport
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_MAIL_FOLDER")]
    pub mail_folder: Option<PathBuf>,
    /// The relay: a host name or an IP address
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_HOST", default_value = "localhost")]
    pub smtp_host: String,
    /// Its port
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_PORT", default_value_t = 465)]
    pub smtp_port: u16,
    /// How the conversation is encrypted; certificates are always verified
    #[arg(help_heading = MAIL,
        long,
        env = "INVITATIONS_SMTP_TLS",
        value_enum,
        default_value = "implicit"
    )]
    pub smtp_tls: TlsMode,
    /// User name at the relay; needs TLS
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_USERNAME", requires = "smtp_password")]
    pub smtp_username: Option<String>,
    /// Password at the relay
    #[arg(help_heading = MAIL,
        long,
        env = "INVITATIONS_SMTP_PASSWORD",
        hide_env_values = true,
        requires = "smtp_username"
    )]
    pub smtp_password: Option<SecretString>,
    /// What this host calls itself in EHLO; the domain of `mail-from` if not set
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_HELLO_NAME")]
    pub smtp_hello_name: Option<String>,
    /// File of certificates (PEM) to trust beside the system's
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_ROOTS_FILE")]
    pub smtp_roots_file: Option<PathBuf>,
    /// Mails sent at once, each over a connection of its own
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_CONNECTIONS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub smtp_connections: u16,
    /// How long the relay may take to answer for a whole message; too short makes duplicates (RFC 1047)
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_REPLY_TIMEOUT", default_value = "120s", value_parser = humantime::parse_duration)]
    pub smtp_reply_timeout: Duration,
    /// Most mails a second; without it as fast as the relay takes them
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_RATE_MAX")]
    pub smtp_rate_max: Option<f64>,
    /// Most mails on their way to one recipient domain at once, for relays that pass such limits on
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_DOMAIN_IN_FLIGHT_MAX")]
    pub smtp_domain_in_flight_max: Option<usize>,
    /// How long a relay that failed is left alone; doubles up to 10 minutes
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SMTP_PAUSE", default_value = "30s", value_parser = humantime::parse_duration)]
    pub smtp_pause: Duration,
    /// What to do with a mail that a relay may or may not have taken, because its last reply never came
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_MAIL_AMBIGUOUS", value_enum, default_value = "retry")]
    pub mail_ambiguous: MailAmbiguous,
    /// How long a mail belongs to the worker that claimed it, unless that asks for more; after a crash the mail waits
    /// so long
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_LEASE_DURATION", default_value = "120s", value_parser = humantime::parse_duration)]
    pub lease_duration: Duration,
    /// How often to look for mails that are due; calls in the same process wake the worker at once
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_POLL_INTERVAL", default_value = "1s", value_parser = humantime::parse_duration)]
    pub poll_interval: Duration,
    /// How often to write down which invitations have expired, and to forget what was kept for long enough
    #[arg(help_heading = MAIL, long, env = "INVITATIONS_SWEEP_INTERVAL", default_value = "30s", value_parser = humantime::parse_duration)]
    pub sweep_interval: Duration,

    /// How long an invitation that ended keeps its address and all else that is about its person; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_ADDRESSES", default_value = KEEP_ADDRESSES, value_parser = humantime::parse_duration)]
    pub keep_addresses: Duration,
    /// How long an invitation that ended is kept at all; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_INVITATIONS", default_value = KEEP_INVITATIONS, value_parser = humantime::parse_duration)]
    pub keep_invitations: Duration,
    /// How long the queue keeps a mail that was sent or canceled; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_MAILS", default_value = KEEP_MAILS, value_parser = humantime::parse_duration)]
    pub keep_mails: Duration,
    /// How long the queue keeps a mail that was given up, to be queued again; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_DEAD_MAILS", default_value = KEEP_DEAD_MAILS, value_parser = humantime::parse_duration)]
    pub keep_dead_mails: Duration,
    /// How long the audit log keeps what callers did; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_AUDIT_EVENTS", default_value = KEEP_AUDIT_EVENTS, value_parser = humantime::parse_duration)]
    pub keep_audit_events: Duration,
    /// How long what happened to invitations can be watched; the same in every process; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_EVENTS", default_value = KEEP_EVENTS, value_parser = humantime::parse_duration)]
    pub keep_events: Duration,
    /// How long the counts of a batch are kept; 0s for ever
    #[arg(help_heading = KEEPING, long, env = "INVITATIONS_KEEP_BATCHES", default_value = KEEP_BATCHES, value_parser = humantime::parse_duration)]
    pub keep_batches: Duration,

    /// After SIGTERM: how long to answer calls while health says NOT_SERVING, so that callers learn of it
    #[arg(help_heading = STOPPING, long, env = "INVITATIONS_DRAIN_DELAY", default_value = "5s", value_parser = humantime::parse_duration)]
    pub drain_delay: Duration,
    /// After that: how long calls and mails in flight may take to end
    #[arg(help_heading = STOPPING, long, env = "INVITATIONS_DRAIN_TIMEOUT", default_value = "20s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,
    /// What to log: levels by target, as `tracing` spells them
    #[arg(help_heading = STOPPING, long, env = "INVITATIONS_LOG", default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(help_heading = STOPPING,
        long,
        env = "INVITATIONS_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: ServeArgs,
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
            "--public-url",
            "http://app.example.com",
            "--resend-webhook-secret",
            "whsec_short",
            "--postmark-webhook-password",
            "short",
            "--keep-addresses",
            "1h",
        ];
        let config = Arguments::try_parse_from(arguments)
            .map_err(|error| error.to_string())
            .unwrap()
            .config;
        let problems = config.load().map(|_| ()).unwrap_err().0;
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
            "lease-duration",
            "database-connections-max",
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn printing_a_configuration_prints_no_secret() {
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
        let config = Arguments::try_parse_from(arguments)
            .map_err(|error| error.to_string())
            .unwrap()
            .config;
        assert!(!format!("{config:?}").contains("canary"));
    }
}
