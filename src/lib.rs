//! Bulk invitations over gRPC.

pub mod domain;
pub mod proto;
