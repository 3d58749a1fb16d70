//! Bulk invitations over gRPC.

pub mod domain;
pub mod mail;
pub mod proto;
