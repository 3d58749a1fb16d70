//! Integration tests: one binary, one file per feature.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start tasks and read clocks of their own"
)]

mod relay;
mod smtp;
