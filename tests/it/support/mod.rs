//! What the tests share. A test usually needs one of three things:
//!
//! - [`World`]: the service in the process of the test, with a clock that the test moves;
//! - [`deployment::Deployment`]: real server processes, which a test can kill;
//! - [`smtp_session`], [`provider`] and [`raw_grpc`]: one component at a time.
//!
//! The names of most tests are re-exported here.

pub(crate) mod attacked_server;
pub(crate) mod audit;
pub(crate) mod background_calls;
pub(crate) mod batch_counts;
pub(crate) mod callers;
pub(crate) mod certificates;
pub(crate) mod database;
pub(crate) mod database_access;
pub(crate) mod database_dump;
pub(crate) mod database_proxy;
pub(crate) mod deadlocks;
pub(crate) mod delivery_attempts;
pub(crate) mod deployment;
pub(crate) mod deployment_invitations;
pub(crate) mod descriptors;
pub(crate) mod directory;
pub(crate) mod documented_reasons;
pub(crate) mod fake_clock;
pub(crate) mod feedback;
pub(crate) mod fixtures;
pub(crate) mod http2;
pub(crate) mod http_port;
pub(crate) mod http_server;
pub(crate) mod invariants;
pub(crate) mod issuer;
pub(crate) mod lanes;
pub(crate) mod links;
pub(crate) mod mail_queue;
pub(crate) mod mailbox;
pub(crate) mod memory_cgroup;
pub(crate) mod other_worker;
pub(crate) mod page_reads;
pub(crate) mod postgres_cluster;
pub(crate) mod programs;
pub(crate) mod provider;
pub(crate) mod provider_batches;
pub(crate) mod raw_grpc;
pub(crate) mod relay;
pub(crate) mod requests;
pub(crate) mod responses;
pub(crate) mod server_process;
pub(crate) mod services;
pub(crate) mod smtp_session;
pub(crate) mod statements;
pub(crate) mod streams;
pub(crate) mod suppression_rows;
pub(crate) mod tasks;
pub(crate) mod tls_deployment;
pub(crate) mod unfinished_call;
pub(crate) mod user_issuer;
pub(crate) mod waiting;
pub(crate) mod watch_stream;
pub(crate) mod world;

pub(crate) use callers::InvitationClient;
pub(crate) use fixtures::{ACME, EVENTS_KEPT, KEY_2, KEYS, OTHER, START, UNKNOWN_ID};
pub(crate) use links::{forge_token, token_of_link, token_payload};
pub(crate) use requests::*;
pub(crate) use responses::{
    created, created_ids, field_violations, item_reason, reason, status_reason,
};
pub(crate) use tasks::run_concurrently;
pub(crate) use world::{World, by_state};
