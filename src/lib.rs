//! The invitation service: bulk invitations over gRPC, delivered by email, each accepted at most once.
//!
//! In reading order: [`domain`] has the rules, [`store`] the SQL and [`service`] the use cases. [`identity`]
//! authenticates callers; [`grpc`] and [`http`] are the servers. [`mail`] and [`delivery`] send the emails,
//! [`settings`] has the configuration, and [`app`] connects all of it. [`command_line`] and [`tools`] are the program
//! around it. `ARCHITECTURE.md` says which module may use which.

pub mod app;
pub mod capacity;
pub mod clock;
pub mod command_line;
pub mod connections;
pub mod database_clock;
pub mod delivery;
pub mod domain;
pub mod entropy;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod mail;
pub mod proto;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod tools;
