//! Bulk invitations over gRPC.

pub mod callers_file;
pub mod cli;
pub mod domain;
pub mod entropy;
pub mod proto;
