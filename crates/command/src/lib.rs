//! What the command lines of the three programs share: exit statuses and errors, files that hold secrets, and the
//! connection to the server.
//!
//! It knows no method of the service.

pub mod error;
pub mod health;
pub mod program;
pub mod secret_file;
pub mod server;
pub mod tls;
