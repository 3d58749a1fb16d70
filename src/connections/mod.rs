//! The connections of a port: how many there may be, and which one is closed to make room for another one.
//!
//! If a port has no room for a new connection, it closes the least valuable one ([`connection_table`]), so idle peers
//! never block a new one. The servers of the ports report what a connection does through [`TrackedService`].

mod connection_table;
mod file_limit;
mod limiter;
mod network;
mod shared_table;
mod tracked_connection;
mod tracked_service;

pub use connection_table::ConnectionLimits;
pub(crate) use file_limit::raise_file_limit;
pub use limiter::ConnectionLimiter;
pub(crate) use network::Network;
pub use tracked_connection::TrackedConnection;
pub(crate) use tracked_service::TrackedService;
