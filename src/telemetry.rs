//! Logging to standard error. Lines of libraries that may contain secrets are dropped.

use std::io::IsTerminal as _;
use std::panic;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::LogFormat;

/// Libraries that log headers, credentials or whole messages at the levels DEBUG and TRACE.
const VERBOSE_LIBRARIES: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "lettre",
    "reqwest",
    "rustls",
    "tonic",
    "tower",
];

#[derive(Debug, thiserror::Error)]
#[error("log: {0}")]
pub struct TelemetryError(String);

/// Fails if the filter is invalid, or logging was already started.
pub fn start(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| TelemetryError(error.to_string()))?;
    // In a file, escape codes would prevent searches for `name=value`.
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // The filters are those of the registry and not of the layer. A filter of a layer keeps its last answer, so after
    // sqlx asks whether a level is enabled, the next line of another target would be dropped.
    tracing_subscriber::registry()
        .with(filter)
        // This filter cannot be turned off, because tokens and addresses must never be logged.
        .with(FilterFn::new(has_no_secrets))
        .with(layer)
        .try_init()
        .map_err(|error| TelemetryError(error.to_string()))?;
    // The message of a panic may contain user data, so only its location is logged.
    panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(panic.location = location, "a task panicked");
    }));
    Ok(())
}

fn has_no_secrets(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || !VERBOSE_LIBRARIES.contains(&library)
}
