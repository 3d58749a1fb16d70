//! Integration tests: one binary, one file for each feature, all through what callers and mail servers see.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks and read clocks of their own, and a panic is how a harness fails"
)]

mod accept;
mod accounts;
mod batches;
mod bounce;
mod bulk_create;
mod bulk_resend;
mod callers;
mod cases;
mod crash;
mod database;
mod delivery;
mod directory;
mod encryption;
mod feedback;
mod feedback_effects;
mod harness;
mod http;
mod idempotency;
mod incidents;
mod independent_smtp;
mod lane;
mod lanes;
mod layering;
mod life;
mod list;
mod memberships;
mod organizations;
mod pages;
mod pipelining;
mod process;
mod provider;
mod provider_mail;
mod races;
mod refusals;
mod relay;
mod reminders;
mod requeue;
mod server;
mod settings;
mod site;
mod smtp;
mod stages;
mod statements;
mod suppression;
mod suppression_list;
mod verdicts;
mod web;
mod wire;
