//! Code that the command lines of all three programs share: exit statuses, errors, files and the address of the server.

pub mod bounded_file;
pub mod error;
pub mod health;
pub mod program;
pub mod secret_file;
pub mod server;
