//! The lanes file: several relays and providers, with their shares, their limits and their fail-over. A server with one
//! relay needs no lanes file, but only the `SMTP_*` settings.
//! See docs/delivery.md for an example. The file contains passwords, so only the service should be able to read it.

mod provider_table;
mod smtp_table;

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use self::provider_table::{PostmarkTable, ResendTable};
use self::smtp_table::{SmtpTable, duration};
use super::files::toml_problem;
use super::problems::{Problems, TableProblems};
use crate::delivery::{DomainCaps, LaneConfig};
use crate::domain::ids::{PLAIN_NAME_RULE, is_plain_name};

pub const LANES_MAX: usize = 32;
/// Pause before a lane that failed is probed, if the lane sets none. Short, so that emails leave soon after an outage.
pub const PAUSE_DEFAULT: Duration = Duration::from_secs(5);
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanesToml {
    #[serde(default, rename = "lane")]
    lanes: Vec<LaneTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneTable {
    name: String,
    weight: Option<u32>,
    rate_max: Option<f64>,
    domain_in_flight_max: Option<usize>,
    domain_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    pause: Option<Duration>,
    smtp: Option<SmtpTable>,
    resend: Option<ResendTable>,
    postmark: Option<PostmarkTable>,
}

/// Parses the text of a lanes file. `hello_name` is for SMTP lanes that set none. Returns all problems, one sentence
/// each. Invalid TOML is one problem.
pub fn parse(text: &str, hello_name: &str) -> Result<Vec<LaneConfig>, Vec<String>> {
    let toml: LanesToml = toml::from_str(text).map_err(|error| vec![toml_problem(text, &error)])?;
    let mut problems = Problems::default();
    if toml.lanes.is_empty() || toml.lanes.len() > LANES_MAX {
        problems.add(format!("needs 1 to {LANES_MAX} lanes"));
    }
    if !toml.lanes.is_empty() && toml.lanes.iter().all(|lane| lane.weight == Some(0)) {
        problems.add("every lane has the weight 0; at least one needs a higher weight");
    }
    let mut names = HashSet::new();
    let mut lanes = Vec::with_capacity(toml.lanes.len());
    for (number, table) in (1..).zip(toml.lanes) {
        let mut table_problems = TableProblems::new(format!("lane {number}"), &mut problems);
        if !names.insert(table.name.clone()) {
            table_problems.add("has the same name as another lane");
        }
        lanes.extend(table.check(hello_name, &mut table_problems));
    }
    problems.into_result(Some(lanes))
}

impl LaneTable {
    fn check(self, hello_name: &str, problems: &mut TableProblems<'_>) -> Option<LaneConfig> {
        if !is_plain_name(&self.name) {
            problems.add(format_args!("name {PLAIN_NAME_RULE}"));
        }
        let is_rate = |rate: Option<f64>| rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
        if !is_rate(self.rate_max) || !is_rate(self.domain_rate_max) {
            problems.add("rate_max and domain_rate_max must be above zero");
        }
        if self.domain_in_flight_max == Some(0) {
            problems.add("domain_in_flight_max must not be zero");
        }
        let transport = match (self.smtp, self.resend, self.postmark) {
            (Some(smtp), None, None) => smtp.transport(hello_name),
            (None, Some(resend), None) => resend.transport(),
            (None, None, Some(postmark)) => postmark.transport(),
            _ => Err("needs exactly one of smtp, resend and postmark".to_owned()),
        };
        Some(LaneConfig {
            name: self.name,
            weight: self.weight.unwrap_or(1),
            transport: problems.check(transport)?,
            rate_max: self.rate_max,
            domain_caps: DomainCaps {
                in_flight_max: self.domain_in_flight_max,
                rate_max: self.domain_rate_max,
            },
            pause: self.pause.unwrap_or(PAUSE_DEFAULT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::LaneTransport;

    #[test]
    fn lanes_of_every_kind_are_parsed() {
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
            lanes[0].transport,
            LaneTransport::PerMessage {
                connections: 16,
                ..
            }
        ));
        assert!(matches!(
            lanes[2].transport,
            LaneTransport::Batches { calls: 2, .. }
        ));
    }

    #[test]
    fn all_problems_are_reported_without_secrets() {
        let problems = |text| parse(text, "mail.example.com").map(|_| ()).unwrap_err();
        assert_eq!(problems(""), ["needs 1 to 32 lanes"]);
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
        let found = problems(bad);
        assert_eq!(found.len(), 6, "{found:?}");
        let invalid = "[[lane]]\nname = \"a\"\nresend = { api_key = \"canary\" extra }\n";
        for text in [bad, invalid] {
            assert!(!problems(text).join("\n").contains("canary"));
        }
        let spares = "[[lane]]\nname = \"a\"\nweight = 0\npostmark = { server_token = \"x\" }\n";
        assert_eq!(problems(spares).len(), 1);
    }
}
