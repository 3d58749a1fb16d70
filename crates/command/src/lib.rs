//! Code that the command lines of all three programs share: exit statuses, errors, secret files and the address of the
//! server.

pub mod error;
pub mod health;
pub mod program;
pub mod secret_file;
pub mod server;
