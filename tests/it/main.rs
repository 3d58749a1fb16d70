//! Integration tests: one binary, one file for each feature, all through what callers and mail servers see.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks and read clocks of their own, and a panic is how a harness fails"
)]

mod accept;
mod accounts;
mod audit;
mod audit_log;
mod bad_inputs;
mod batches;
mod bounce;
mod bulk_create;
mod bulk_resend;
mod bulk_revoke;
mod bystanders;
mod callers;
mod cancellation;
mod certificates;
mod crash;
mod database;
mod delivery;
mod directory;
mod encryption;
mod erasure;
mod errors;
mod faults;
mod feedback;
mod feedback_effects;
mod floods;
mod frames;
mod harness;
mod http;
mod idempotency;
mod independent_smtp;
mod issuer;
mod jwt;
mod lane;
mod lanes;
mod layering;
mod life;
mod limits;
mod list;
mod memberships;
mod mtls;
mod organizations;
mod outages;
mod overload;
mod pages;
mod pipelining;
mod process;
mod provider;
mod provider_mail;
mod proxy;
mod quotas;
mod races;
mod refusals;
mod relay;
mod reminders;
mod requeue;
mod retention;
mod rotation;
mod server;
mod settings;
mod site;
mod smtp;
mod stages;
mod statements;
mod suppression;
mod suppression_list;
mod suspension;
mod users;
mod verdicts;
mod web;
mod wire;
mod xfcc;
