//! Bulk invitations over gRPC.

pub mod cli;
pub mod domain;
pub mod inbox;
pub mod proto;
