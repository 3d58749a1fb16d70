//! The gRPC port: connections, TLS, deadlines, health and limits.

pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod health;
pub mod limits;
pub(crate) mod public_calls;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod tls_files;
