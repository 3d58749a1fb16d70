//! Integration tests: one binary, one file per feature.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks and read clocks of their own, and a panic is how a harness fails"
)]

mod relay;
mod smtp;
