//! The port: connections, TLS, deadlines, health and the limits of HTTP/2.

pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod encryption;
pub(crate) mod health;
pub mod limits;
pub(crate) mod server;
pub(crate) mod tls;
