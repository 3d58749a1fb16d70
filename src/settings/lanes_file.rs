//! The file of lanes: several ways out, with their shares, limits and fail-over. Who needs one way only sets it by the
//! `SMTP_*` settings and has no such file.
//!
//! ```toml
//! [[lane]]
//! name = "main"
//! weight = 3                     # three mails in four, where both have room
//! rate_max = 50                  # mails a second
//! domain_in_flight_max = 2       # to one recipient domain at once
//! smtp = { host = "smtp.example.com", username = "invites", password = "…" }
//!
//! [[lane]]
//! name = "other"
//! weight = 1
//! resend = { api_key = "re_…" }
//!
//! [[lane]]
//! name = "spare"
//! weight = 0                     # while no other lane works
//! postmark = { server_token = "…" }
//! ```
//!
//! Holds passwords: keep it readable for the service alone.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::delivery::{DomainCaps, LaneConfig, Route};
use crate::mail::provider::{ProviderConfig, ProviderKind, ProviderTransport};
use crate::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use crate::mail::transport::Transport;

/// Most lanes.
pub const LANES_MAX: usize = 32;
/// Longest name of a lane, in characters.
pub const LANE_NAME_CHARS_MAX: usize = 64;
/// Mails sent at once over a lane that does not say.
pub const CONNECTIONS_DEFAULT: u16 = 4;
/// How long a lane that failed is left alone where it does not say.
pub const PAUSE_DEFAULT: Duration = Duration::from_secs(30);
/// Most connections, or calls at once, of one lane.
const CONNECTIONS_MAX: u16 = 256;
/// How long one call to a provider may take where the lane does not say.
const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Calls made at once to a provider where the lane does not say.
const CALLS_DEFAULT: u16 = 2;
/// Calls made in a second where the lane does not say: what Resend allowed everybody for years, and it goes on from there.
const CALLS_RATE_DEFAULT: f64 = 2.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "lane")]
    lanes: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default = "one")]
    weight: u32,
    rate_max: Option<f64>,
    domain_in_flight_max: Option<usize>,
    domain_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    pause: Option<Duration>,
    smtp: Option<Smtp>,
    resend: Option<Resend>,
    postmark: Option<Postmark>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Smtp {
    host: String,
    #[serde(default = "implicit_tls_port")]
    port: u16,
    #[serde(default)]
    tls: Tls,
    username: Option<String>,
    password: Option<SecretString>,
    hello_name: Option<String>,
    roots_file: Option<PathBuf>,
    connections: Option<u16>,
    messages_per_connection: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    connection_max_age: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    idle_close: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    reply_timeout: Option<Duration>,
    #[serde(default = "yes")]
    pipelining: bool,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Tls {
    #[default]
    Implicit,
    Starttls,
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    api_key: SecretString,
    base_url: Option<Url>,
    batch_max: Option<usize>,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    roots_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Postmark {
    server_token: SecretString,
    #[serde(default = "outbound")]
    message_stream: String,
    base_url: Option<Url>,
    batch_max: Option<usize>,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    roots_file: Option<PathBuf>,
}

/// Reads the text of a lanes file. `hello_name` is for lanes that name none.
///
/// # Errors
///
/// Every problem at once, one sentence each; TOML that cannot be read is one problem.
pub fn parse(text: &str, hello_name: &str) -> Result<Vec<LaneConfig>, Vec<String>> {
    // What `toml` says quotes the line, and the line may hold a password.
    let file: File = toml::from_str(text).map_err(|error| vec![syntax_problem(text, &error)])?;
    let mut problems = Vec::new();
    if file.lanes.is_empty() || file.lanes.len() > LANES_MAX {
        problems.push(format!("1 to {LANES_MAX} lanes are needed"));
    }
    if !file.lanes.is_empty() && file.lanes.iter().all(|lane| lane.weight == 0) {
        problems.push("every lane is a spare; give one of them a weight".to_owned());
    }
    let mut names = HashSet::new();
    let mut lanes = Vec::with_capacity(file.lanes.len());
    for (number, entry) in (1..).zip(file.lanes) {
        if !names.insert(entry.name.clone()) {
            problems.push(format!("lane {number} has the name of another"));
        }
        match entry.lane(hello_name) {
            Ok(lane) => lanes.push(lane),
            Err(found) => {
                problems.extend(
                    found
                        .into_iter()
                        .map(|problem| format!("lane {number}: {problem}")),
                );
            }
        }
    }
    if problems.is_empty() {
        Ok(lanes)
    } else {
        Err(problems)
    }
}

impl Entry {
    fn lane(self, hello_name: &str) -> Result<LaneConfig, Vec<String>> {
        let mut problems = Vec::new();
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= LANE_NAME_CHARS_MAX
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !is_name(&self.name) {
            problems.push(format!(
                "the name must be 1 to {LANE_NAME_CHARS_MAX} of A-Z, a-z, 0-9, '.', '_' and '-'"
            ));
        }
        let is_rate = |rate: Option<f64>| rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
        if !is_rate(self.rate_max) || !is_rate(self.domain_rate_max) {
            problems.push("rates are mails a second and above zero".to_owned());
        }
        if self.domain_in_flight_max == Some(0) {
            problems.push("domain_in_flight_max must not be zero".to_owned());
        }
        let route = match (self.smtp, self.resend, self.postmark) {
            (Some(smtp), None, None) => smtp.route(hello_name),
            (None, Some(resend), None) => resend.route(),
            (None, None, Some(postmark)) => postmark.route(),
            _ => Err("exactly one of smtp, resend and postmark is needed".to_owned()),
        };
        match route {
            Ok(route) if problems.is_empty() => Ok(LaneConfig {
                name: self.name,
                weight: self.weight,
                route,
                rate_max: self.rate_max,
                domain_caps: DomainCaps {
                    in_flight_max: self.domain_in_flight_max,
                    rate_max: self.domain_rate_max,
                },
                pause: self.pause.unwrap_or(PAUSE_DEFAULT),
            }),
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }
}

impl Smtp {
    fn route(self, hello_name: &str) -> Result<Route, String> {
        let credentials = match (self.username, self.password) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            _ => return Err("smtp: username and password belong together".to_owned()),
        };
        let limits = SmtpLimits::default();
        let timeouts = SmtpTimeouts::default();
        let config = SmtpConfig {
            host: self.host,
            port: self.port,
            tls: match self.tls {
                Tls::Implicit => SmtpTls::Implicit,
                Tls::Starttls => SmtpTls::StartTls,
                Tls::None => SmtpTls::None,
            },
            extra_roots_pem: self.roots_file.as_ref().map(read).transpose()?,
            credentials,
            hello_name: self.hello_name.unwrap_or_else(|| hello_name.to_owned()),
            pipelining: self.pipelining,
            timeouts: SmtpTimeouts {
                body: self.reply_timeout.unwrap_or(timeouts.body),
                ..timeouts
            },
            limits: SmtpLimits {
                messages_per_connection: self
                    .messages_per_connection
                    .unwrap_or(limits.messages_per_connection),
                connection_max_age: self.connection_max_age.unwrap_or(limits.connection_max_age),
                idle_close: self.idle_close.unwrap_or(limits.idle_close),
            },
        };
        let transport = SmtpTransport::new(config).map_err(|error| format!("smtp: {error}"))?;
        Ok(Route::Each {
            transport: Transport::Smtp(transport),
            connections: at_once(
                self.connections.unwrap_or(CONNECTIONS_DEFAULT),
                "connections",
            )?,
        })
    }
}

impl Resend {
    fn route(self) -> Result<Route, String> {
        let config = ProviderConfig {
            kind: ProviderKind::Resend,
            base_url: self.base_url,
            api_key: self.api_key,
            timeout: self.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT),
            batch_max: self
                .batch_max
                .unwrap_or(ProviderKind::Resend.batch_max_default()),
            message_stream: String::new(),
            extra_roots_pem: self.roots_file.as_ref().map(read).transpose()?,
        };
        provider_route(config, self.calls, self.calls_rate_max)
    }
}

impl Postmark {
    fn route(self) -> Result<Route, String> {
        let config = ProviderConfig {
            kind: ProviderKind::Postmark,
            base_url: self.base_url,
            api_key: self.server_token,
            timeout: self.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT),
            batch_max: self
                .batch_max
                .unwrap_or(ProviderKind::Postmark.batch_max_default()),
            message_stream: self.message_stream,
            extra_roots_pem: self.roots_file.as_ref().map(read).transpose()?,
        };
        provider_route(config, self.calls, self.calls_rate_max)
    }
}

fn provider_route(
    config: ProviderConfig,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
) -> Result<Route, String> {
    let rate = calls_rate_max.unwrap_or(CALLS_RATE_DEFAULT);
    if !rate.is_finite() || rate <= 0.0 {
        return Err("calls_rate_max is calls a second and above zero".to_owned());
    }
    let provider = ProviderTransport::new(config).map_err(|error| error.to_string())?;
    Ok(Route::Batches {
        provider,
        calls: at_once(calls.unwrap_or(CALLS_DEFAULT), "calls")?,
        calls_rate_max: Some(rate),
    })
}

fn at_once(count: u16, setting: &str) -> Result<usize, String> {
    if (1..=CONNECTIONS_MAX).contains(&count) {
        Ok(usize::from(count))
    } else {
        Err(format!("{setting} must be 1 to {CONNECTIONS_MAX}"))
    }
}

fn read(file: &PathBuf) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("roots_file {}: {error}", file.display()))
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    format!("line {line}: {}", error.message())
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text).map_err(serde::de::Error::custom)?;
    if duration.is_zero() {
        return Err(serde::de::Error::custom("a duration must not be zero"));
    }
    Ok(Some(duration))
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

const fn implicit_tls_port() -> u16 {
    465
}

fn outbound() -> String {
    "outbound".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_of_every_kind_are_read() {
        let lanes = parse(
            r#"
            [[lane]]
            name = "main"
            weight = 3
            rate_max = 50
            domain_in_flight_max = 2
            pause = "1m"
            smtp = { host = "localhost", port = 25, tls = "none", connections = 16, reply_timeout = "5m" }

            [[lane]]
            name = "other"
            resend = { api_key = "re_x", base_url = "http://127.0.0.1:1" }

            [[lane]]
            name = "spare"
            weight = 0
            postmark = { server_token = "x" }
            "#,
            "mail.example.com",
        )
        .unwrap();
        let weights: Vec<_> = lanes.iter().map(|lane| lane.weight).collect();
        assert_eq!(weights, [3, 1, 0]);
        assert_eq!(lanes[0].pause, Duration::from_mins(1));
        assert_eq!(lanes[0].domain_caps.in_flight_max, Some(2));
        assert!(matches!(
            lanes[0].route,
            Route::Each {
                connections: 16,
                ..
            }
        ));
        assert!(matches!(lanes[2].route, Route::Batches { calls: 2, .. }));
    }

    #[test]
    fn every_problem_is_told_and_no_secret() {
        let problems = |text| parse(text, "mail.example.com").map(|_| ()).unwrap_err();
        assert_eq!(problems(""), ["1 to 32 lanes are needed"]);
        let bad = r#"
            [[lane]]
            name = "a b"
            rate_max = -1
            resend = { api_key = "canary", base_url = "http://mail.example.com" }
            [[lane]]
            name = "b"
            [[lane]]
            name = "b"
            smtp = { host = "localhost", connections = 0 }
        "#;
        let told = problems(bad);
        assert_eq!(told.len(), 6, "{told:?}");
        let torn = "[[lane]]\nname = \"a\"\nresend = { api_key = \"canary\" extra }\n";
        for text in [bad, torn] {
            assert!(!problems(text).join("\n").contains("canary"));
        }
        let spares = "[[lane]]\nname = \"a\"\nweight = 0\npostmark = { server_token = \"x\" }\n";
        assert_eq!(problems(spares).len(), 1);
    }
}
