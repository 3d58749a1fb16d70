//! Logging: where lines go, what they look like, and what never gets into them.

use std::io::IsTerminal as _;
use std::panic;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::arguments::LogFormat;

/// Libraries that print headers, credentials or whole messages when they are asked for detail.
const TALKATIVE: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "lettre",
    "reqwest",
    "rustls",
    "tonic",
    "tower",
];

/// The filter cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log: {0}")]
pub struct TelemetryError(String);

/// Starts logging to standard error.
pub fn start(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| TelemetryError(error.to_string()))?;
    // Escape codes are for eyes: in a file or a collector they keep `name=value` from being found.
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // Filters of the whole registry, not of the layer: a layer's filter remembers its last answer, and when sqlx only
    // asks whether it may log, the next line of somebody else would be dropped for it.
    tracing_subscriber::registry()
        .with(filter)
        // No setting turns this off: at debug level those would put tokens and addresses into the log.
        .with(FilterFn::new(is_discreet))
        .with(layer)
        .try_init()
        .map_err(|error| TelemetryError(error.to_string()))?;
    // A panic's message may hold whatever was being worked on; its place tells the developer enough.
    panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(panic.location = location, "a task panicked");
    }));
    Ok(())
}

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || !TALKATIVE.contains(&library)
}
