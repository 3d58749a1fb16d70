//! `Watch`: the events of organizations or a batch, read from the log of events as it grows.

mod progress;
mod stream;

pub use stream::{EVENTS_MAX, Watch, WatchFrom, WatchedEvents};
