//! Integration tests in one binary. They use the service as its callers and mail servers do.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests start tasks, read the system clock, fail by a panic, and list their cases in one function"
)]

mod faults;
mod features;
mod incidents;
mod project;
mod support;
