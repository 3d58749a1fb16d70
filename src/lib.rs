//! Bulk invitations over gRPC.

pub mod callers_file;
pub mod cli;
pub mod clock;
pub mod delivery;
pub mod domain;
pub mod entropy;
pub mod grpc;
pub mod mail;
pub mod proto;
pub mod service;
pub mod shutdown;
pub mod store;
