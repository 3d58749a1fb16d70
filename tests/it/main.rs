//! Integration tests: one binary, all through what callers and mail servers see.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks and read clocks of their own, and a panic is how a harness fails"
)]

mod faults;
mod features;
mod incidents;
mod project;
mod support;
