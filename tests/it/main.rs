//! Integration tests in one binary. They use the service as its callers and mail servers do.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks, read the system clock, and fail by a panic"
)]

mod faults;
mod features;
mod incidents;
mod project;
mod support;
