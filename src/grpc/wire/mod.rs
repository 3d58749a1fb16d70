//! The gRPC port: connections, TLS, deadlines, health and limits.

pub(in crate::grpc) mod call_task;
pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod health;
pub mod limits;
mod prefaced_stream;
pub(crate) mod public_calls;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod tls_files;
