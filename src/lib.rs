//! Bulk invitations over gRPC: made in one call, delivered by mail, turned into memberships exactly once.
//!
//! In reading order: [`domain`] holds the rules, [`store`] the SQL, [`service`] the use cases, [`identity`] who
//! calls, [`grpc`] and [`http`] the surface, [`mail`] and [`delivery`] get the mails out, [`app`] puts it all together. [`cli`] is the command line around it and
//! [`inbox`] a development mail server. `ARCHITECTURE.md` says who may know whom.

pub mod app;
pub mod clock;
pub mod command_line;
pub mod connection_limiter;
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
