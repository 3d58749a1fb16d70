//! Settings of the process: its shutdown and its log.

use std::time::Duration;

use clap::{Args, ValueEnum};
use humantime::parse_duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines, one JSON object per line
    Json,
}

#[derive(Debug, Clone, Args)]
pub struct ProcessArgs {
    /// After SIGTERM, how long calls are answered while health reports NOT_SERVING, so that callers notice
    #[arg(long, env = "INVITATIONS_DRAIN_DELAY", default_value = "5s", value_parser = parse_duration)]
    pub(super) drain_delay: Duration,
    /// After that delay, how long running calls and deliveries may take to finish
    #[arg(long, env = "INVITATIONS_DRAIN_TIMEOUT", default_value = "20s", value_parser = parse_duration)]
    pub(super) drain_timeout: Duration,
    /// What to log: levels by target, in the syntax of `tracing`
    #[arg(long, env = "INVITATIONS_LOG", default_value = "info")]
    pub log: String,
    /// Format of log lines
    #[arg(long, env = "INVITATIONS_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}
